//! etcd and kube-apiserver, started as envtest of controller-runtime starts them
//! (<https://book.kubebuilder.io/reference/envtest>): no kubelet, no controllers.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use super::{ADMINISTRATOR, USERS, client, token};
use crate::{eventually, pki::Certificate, process::Running};

/// The folder with the programs, by envtest's convention.
pub(super) const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// How long the API server may take to be ready: some seconds, on a machine that has nothing else to do.
const START: Duration = Duration::from_secs(120);
/// How long a program has to end by itself. Nothing of what it keeps is needed any more.
const END: Duration = Duration::from_secs(3);

/// A real one that runs; it ends when dropped.
#[derive(Debug)]
pub(super) struct Real {
    pub(super) address: SocketAddr,
    assets: PathBuf,
    folder: PathBuf,
    etcd: Option<Running>,
    etcd_url: String,
    server: Mutex<Option<Running>>,
}

impl Real {
    /// Starts one that keeps its files in a folder.
    pub(super) fn start(
        assets: PathBuf,
        folder: &Path,
        certificate: &Certificate,
        trust: &Arc<ClientConfig>,
    ) -> Self {
        certificate.write(folder);
        let tokens = USERS.map(|user| {
            let groups = if user == ADMINISTRATOR { ",system:masters" } else { "" };
            format!("{},{user},{user}{groups}\n", token(user))
        });
        std::fs::write(folder.join("tokens.csv"), tokens.concat()).expect("tokens.csv");
        let [address, clients, peers] = free_ports();
        let etcd_url = format!("http://{clients}");
        let etcd = Running::start(&mut etcd(&assets, folder, &etcd_url, &format!("http://{peers}")));
        let listens = || TcpStream::connect(clients).ok();
        eventually(|| format!("etcd, which printed:\n{}", etcd.printed()), listens);
        let server = Mutex::new(None);
        let folder = folder.to_owned();
        let real = Self { address, assets, folder, etcd: Some(etcd), etcd_url, server };
        real.serve(trust);
        real
    }

    /// Stops the API server and starts it again: it forgets what happened, and keeps what is.
    pub(super) fn restart(&self, trust: &Arc<ClientConfig>) {
        if let Some(server) = self.server().take() {
            server.end(END);
        }
        self.serve(trust);
    }

    fn serve(&self, trust: &Arc<ClientConfig>) {
        let mut server = Running::start(&mut self.apiserver());
        let begin = Instant::now();
        let ready = || client::request(trust, self.address, ADMINISTRATOR, "GET", "/readyz", None);
        while !matches!(ready(), Ok((200, _))) {
            let late = begin.elapsed() > START || server.has_ended();
            assert!(!late, "kube-apiserver is not ready, and printed:\n{}", server.printed());
            std::thread::sleep(Duration::from_millis(50));
        }
        *self.server() = Some(server);
    }

    fn apiserver(&self) -> Command {
        let mut command = program(&self.assets, "kube-apiserver");
        let file = |name: &str| self.folder.join(name).display().to_string();
        let flags = [
            ("etcd-servers", self.etcd_url.clone()),
            ("bind-address", self.address.ip().to_string()),
            ("advertise-address", self.address.ip().to_string()),
            ("secure-port", self.address.port().to_string()),
            // There is no use for the Service of the API server itself.
            ("endpoint-reconciler-type", "none".to_owned()),
            ("cert-dir", file("")),
            ("tls-cert-file", file("tls.crt")),
            ("tls-private-key-file", file("tls.key")),
            ("token-auth-file", file("tokens.csv")),
            ("authorization-mode", "RBAC".to_owned()),
            // It wants a controller that makes the account `default`.
            ("disable-admission-plugins", "ServiceAccount".to_owned()),
            ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
            ("service-account-key-file", file("tls.crt")),
            ("service-account-signing-key-file", file("tls.key")),
            ("service-cluster-ip-range", "10.0.0.0/24".to_owned()),
        ];
        command.args(flags.map(|(flag, value)| format!("--{flag}={value}")));
        command
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.server.lock().expect("nothing panics with it")
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let server = self.server.get_mut().ok().and_then(Option::take);
        // The API server first: it does not end well without its etcd.
        for running in [server, self.etcd.take()].into_iter().flatten() {
            running.end(END);
        }
    }
}

fn etcd(assets: &Path, folder: &Path, clients: &str, peers: &str) -> Command {
    let help = program(assets, "etcd").arg("--help").output().expect("etcd --help");
    let help = [help.stdout, help.stderr].concat();
    let mut command = program(assets, "etcd");
    command.arg("--data-dir").arg(folder.join("etcd"));
    for flag in ["--listen-client-urls", "--advertise-client-urls"] {
        command.args([flag, clients]);
    }
    for flag in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
        command.args([flag, peers]);
    }
    command.arg(format!("--initial-cluster=default={peers}"));
    // From 3.5 on.
    if String::from_utf8_lossy(&help).contains("unsafe-no-fsync") {
        command.arg("--unsafe-no-fsync");
    }
    command
}

fn program(assets: &Path, name: &str) -> Command {
    let path = assets.join(name);
    assert!(path.is_file(), "{ASSETS} is {}, and there is no {name} in it", assets.display());
    Command::new(path)
}

/// Ports of 127.0.0.1 that no one has, all taken before any is given back.
fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound"))
}
