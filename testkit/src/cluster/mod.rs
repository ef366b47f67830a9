//! An API server for tests.
//!
//! [`Cluster::fake`] runs in the test, in milliseconds, and [fails](Faults) when it is told to. It stores JSON by
//! path, in the words of a kube-apiserver 1.36: RBAC, conflicts, watches. It knows a few resources, makes no
//! defaults, admits everything and runs no controllers; what it can't do it answers with 501.

mod access;
mod client;
mod fake;
mod faults;
mod handler;
mod kind;
mod object;
mod refusal;
mod store;
mod stream;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::ClientConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::{
    client::Watch,
    faults::{Faults, Seen},
};
use crate::{eventually, https, pki::Authority};

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

/// An API server; it ends when dropped.
#[derive(Debug)]
pub struct Cluster {
    server: fake::Fake,
    authority: Authority,
    trust: Arc<ClientConfig>,
    folder: TempDir,
}

impl Cluster {
    /// One that runs inside the test.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn fake() -> Self {
        let authority = Authority::new("fake cluster");
        let server = fake::Fake::start(&authority.issue(1));
        let folder = tempfile::tempdir().expect("a folder");
        Self { server, trust: https::client(authority.pem()), authority, folder }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The CA of its certificate, PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        self.authority.pem()
    }

    /// A kubeconfig file for a user, for kubectl and the `kube` crate.
    ///
    /// # Panics
    /// When it can't be written, or there is no such [user](USERS).
    #[must_use]
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        assert!(USERS.contains(&user), "no user {user}: the users are {USERS:?}");
        let ca = self.folder.path().join("ca.crt");
        std::fs::write(&ca, self.ca()).expect("ca.crt");
        let server = format!("https://{}", self.address());
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": ca}}],
            "users": [{"name": user, "user": {"token": token(user)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        });
        let path = self.folder.path().join(format!("{user}.kubeconfig"));
        std::fs::write(&path, config.to_string()).expect("a kubeconfig");
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
    }

    /// Asks as the administrator; the status and the body, which is a string where it is no JSON. A PATCH with a
    /// list is a JSON patch, with an object a merge patch.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.request_as(ADMINISTRATOR, method, path, body)
    }

    /// The same as a user; without a token as `""`.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn request_as(&self, user: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        client::request(&self.trust, self.address(), user, method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Begins a watch as a user; the path has the query, with `watch=true`.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn watch(&self, user: &str, path: &str) -> Watch {
        Watch::begin(&self.trust, self.address(), user, path)
            .unwrap_or_else(|error| panic!("watch {path}: {error}"))
    }

    /// Makes an object in a collection; as it is then.
    ///
    /// # Panics
    /// When it can't be made; so for the others.
    pub fn create(&self, path: &str, object: &Value) -> Value {
        self.done("POST", path, Some(object))
    }

    /// Reads an object or a collection.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        self.done("GET", path, None)
    }

    /// Replaces an object.
    ///
    /// # Panics
    /// When that is refused.
    pub fn replace(&self, path: &str, object: &Value) -> Value {
        self.done("PUT", path, Some(object))
    }

    /// Reads an object, changes it and writes it back, until no one else did meanwhile.
    ///
    /// # Panics
    /// When that is refused for another reason.
    pub fn change(&self, path: &str, change: impl Fn(&mut Value)) -> Value {
        let attempt = || {
            let mut object = self.get(path);
            change(&mut object);
            let (status, answer) = self.request("PUT", path, Some(&object));
            assert!(matches!(status, 200 | 409), "PUT {path}: {status} {answer}");
            (status == 200).then_some(answer)
        };
        eventually(|| format!("a change of {path}"), attempt)
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When that is refused.
    pub fn delete(&self, path: &str) {
        self.done("DELETE", path, None);
    }

    fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.request(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Makes watches from versions up to now impossible: 410.
    pub fn forget_history(&self) {
        self.server.shared.store().forget();
    }

    /// The faults of a fake.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.server.shared.faults
    }
}
