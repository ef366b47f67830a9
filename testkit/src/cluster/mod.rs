//! An API server for tests, of two kinds with one interface.
//!
//! - [`Cluster::fake`] runs in the test, in milliseconds, and [fails](Faults) when it is told to. It stores JSON by
//!   path, in the words of a kube-apiserver 1.36: RBAC, conflicts, watches. It knows a few resources, and of
//!   them little more than Secrets and webhooks; admission and controllers it has none. What it can't do it
//!   answers with 501.
//! - [`Cluster::real`] is etcd and kube-apiserver, where they are installed.
//!
//! `testkit/tests/cluster` runs the same cases against both: the fake is as faithful as they say.

mod access;
mod client;
mod fake;
mod faults;
mod handler;
mod kind;
mod object;
mod real;
mod refusal;
mod schema;
mod store;
mod stream;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::ClientConfig;
use serde_json::json;
use tempfile::TempDir;

pub use self::{
    client::Watch,
    faults::{Faults, Seen},
};
use crate::{
    eventually, https,
    pki::{Authority, Certificate},
};

/// The users that there are: the real one reads its tokens once, when it starts. The first may do everything, the
/// others what [`Cluster::allow`] allows.
pub const USERS: [&str; 4] = [ADMINISTRATOR, "webhook", "gitops", "stranger"];
const ADMINISTRATOR: &str = "admin";
/// Who sends no token.
const ANONYMOUS: &str = "system:anonymous";

/// The bearer token of a user.
#[must_use]
pub fn token(user: &str) -> String {
    format!("token-of-{user}")
}

/// A table `CASES` of functions of a cluster, by module, and a test with a fake of its own for each. For the root of a
/// test binary, which runs the table against [`Cluster::real`] as well.
#[macro_export]
macro_rules! cluster_cases {
    ($($group:ident: $($case:ident),+;)+) => {
        const CASES: &[(&str, fn(&$crate::cluster::Cluster))] = &[$($((stringify!($case), $group::$case)),+),+];

        mod fake {
            $($(#[test]
            fn $case() {
                super::$group::$case(&$crate::cluster::Cluster::fake());
            })+)+
        }
    };
}

/// An API server; it ends when dropped.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    authority: Authority,
    trust: Arc<ClientConfig>,
    folder: TempDir,
}

#[derive(Debug)]
enum Server {
    Fake(fake::Fake),
    Real(real::Real),
}

impl Cluster {
    /// One that runs inside the test.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn fake() -> Self {
        Self::start(|certificate, _, _| Server::Fake(fake::Fake::start(certificate)))
    }

    /// The programs `kube-apiserver` and `etcd` from the folder that `KUBEBUILDER_ASSETS` names; none where that is
    /// not set: the caller then says [that it skips](crate::skipped). Takes seconds, and hundreds of megabytes.
    ///
    /// # Panics
    /// When they don't work.
    #[must_use]
    pub fn real() -> Option<Self> {
        let assets = PathBuf::from(std::env::var_os(real::ASSETS)?);
        Some(Self::start(|certificate, folder, trust| {
            Server::Real(real::Real::start(assets, folder, certificate, trust))
        }))
    }

    fn start(server: impl FnOnce(&Certificate, &Path, &Arc<ClientConfig>) -> Server) -> Self {
        let authority = Authority::new("test cluster");
        let trust = https::client(authority.pem());
        let folder = tempfile::tempdir().expect("a folder");
        let server = server(&authority.issue(1), folder.path(), &trust);
        Self { server, authority, trust, folder }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Fake(fake) => fake.address,
            Server::Real(real) => real.address,
        }
    }

    /// The CA of its certificate, PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        self.authority.pem()
    }

    /// A kubeconfig file for a user, for kubectl and our own programs.
    ///
    /// # Panics
    /// When it can't be written, or there is no such [user](USERS).
    #[must_use]
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        assert!(USERS.contains(&user), "no user {user}: the users are {USERS:?}");
        let ca = self.folder.path().join("ca.crt");
        // Others may be reading it.
        if !ca.exists() {
            std::fs::write(&ca, self.ca()).expect("ca.crt");
        }
        let server = format!("https://{}", self.address());
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": ca}}],
            "users": [{"name": user, "user": {"token": token(user)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        });
        let path = self.folder.path().join(format!("{user}.kubeconfig"));
        if !path.exists() {
            std::fs::write(&path, config.to_string()).expect("a kubeconfig");
        }
        path
    }

    /// Lets a user do something, in all namespaces, by a `ClusterRole` and its binding; without names, to all
    /// objects. Returns when it is so.
    ///
    /// # Panics
    /// When the roles can't be made.
    pub fn allow(&self, user: &str, verbs: &[&str], group: &str, resource: &str, names: &[&str]) {
        let base = "/apis/rbac.authorization.k8s.io/v1";
        let rule =
            json!({"verbs": verbs, "apiGroups": [group], "resources": [resource], "resourceNames": names});
        let role = json!({"metadata": {"generateName": format!("{user}-")}, "rules": [rule]});
        let role = self.create(&format!("{base}/clusterroles"), &role);
        let name = &role["metadata"]["name"];
        let rbac = "rbac.authorization.k8s.io";
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        });
        self.create(&format!("{base}/clusterrolebindings"), &binding);
        if let Server::Real(_) = self.server {
            let last =
                json!({"verb": verbs.last(), "group": group, "resource": resource, "name": names.last()});
            let review = json!({"spec": {"user": user, "resourceAttributes": last}});
            let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
            let allowed = || (self.create(reviews, &review)["status"]["allowed"] == true).then_some(());
            eventually(|| format!("{user} to be allowed: {last}"), allowed);
        }
    }

    /// Makes watches from versions up to now impossible: 410. A real one is restarted for that.
    pub fn forget_history(&self) {
        match &self.server {
            Server::Fake(fake) => fake.shared.store().forget(),
            Server::Real(real) => real.restart(&self.trust),
        }
    }

    /// The faults of a fake.
    ///
    /// # Panics
    /// With a real one.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        match &self.server {
            Server::Fake(fake) => &fake.shared.faults,
            Server::Real(_) => panic!("a real API server has no faults to order"),
        }
    }
}
