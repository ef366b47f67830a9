//! Replicas in a cluster, and the two objects that they keep.

use std::{collections::BTreeSet, net::SocketAddr, process::Command, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{
    cluster::Cluster,
    eventually,
    https::{self, Connection},
    process::{Running, field},
};
use webhook::cert_secret::{
    authorities::Authorities,
    clock::Clocks,
    pair::{self, Known},
    secret::Stored,
};

pub const SECRETS: &str = "/api/v1/namespaces/default/secrets";
pub const SECRET: &str = "/api/v1/namespaces/default/secrets/hook";
pub const REGISTRATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hook";
pub const PATH: &str = "/webhook/pod-apiserver-env";

/// What the manifests give, and not more.
pub fn prepare(cluster: &Cluster) {
    cluster.create(SECRETS, &json!({"metadata": {"name": "hook"}, "type": "Opaque"}));
    let verbs = ["get", "update", "watch"];
    cluster.allow("webhook", &verbs, "", "secrets", &["hook"]);
    let group = "admissionregistration.k8s.io";
    cluster.allow("webhook", &verbs, group, "mutatingwebhookconfigurations", &["hook"]);
}

/// Registers the webhook under `localhost`, without a `caBundle`.
pub fn register(cluster: &Cluster) -> Value {
    cluster.create(REGISTRATIONS, &registration(&[&format!("https://localhost:1{PATH}")]))
}

pub fn registration(urls: &[&str]) -> Value {
    let webhook = |(number, url): (usize, &&str)| {
        json!({
            "name": format!("hook{number}.example.com"),
            "clientConfig": {"url": url},
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        })
    };
    let webhooks: Vec<Value> = urls.iter().enumerate().map(webhook).collect();
    json!({"metadata": {"name": "hook"}, "webhooks": webhooks})
}

/// Removes what a case leaves.
pub fn clean(cluster: &Cluster) {
    for path in [SECRET, REGISTRATION] {
        let _ = cluster.request("DELETE", path, None);
    }
}

/// The certificates of a webhook's `caBundle`.
pub fn bundle(cluster: &Cluster, webhook: usize) -> Authorities {
    let registration = cluster.get(REGISTRATION);
    let text = registration["webhooks"][webhook]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    Authorities::from_pem(&STANDARD.decode(text).unwrap())
}

/// Writes a `caBundle`.
pub fn set_bundle(cluster: &Cluster, bundle: &str) {
    cluster.change(REGISTRATION, |registration| {
        for webhook in registration["webhooks"].as_array_mut().unwrap() {
            webhook["clientConfig"]["caBundle"] = json!(STANDARD.encode(bundle));
        }
    });
}

pub fn stored(cluster: &Cluster) -> Stored {
    Stored::read(&cluster.get(SECRET))
}

pub fn store(cluster: &Cluster, stored: &Stored) {
    cluster.change(SECRET, |secret| stored.write(secret));
}

pub fn local_names() -> BTreeSet<String> {
    ["localhost".to_owned()].into()
}

/// A certificate for `localhost` that was made so many days ago.
pub fn made(days_ago: i64) -> Known {
    let then = now() - days_ago * 86_400;
    pair::make(&local_names(), Clocks { server: then, own: then }).unwrap()
}

pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// A replica.
pub struct Replica {
    pub running: Running,
    pub address: SocketAddr,
    pub health: SocketAddr,
}

/// The command of a replica that may do what the manifests allow.
pub fn command(cluster: &Cluster) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"));
    command.env("KUBECONFIG", cluster.kubeconfig("webhook"));
    command.args([
        "--apiserver-fqdn=foo.bar.",
        "--host=localhost",
        "--port=0",
        "--health-bind-address=127.0.0.1:0",
        "--cert-secret=default/hook",
        "--webhook-configuration=hook",
    ]);
    command
}

/// Starts replicas at the same moment, and waits until all serve.
pub fn start(cluster: &Cluster, count: usize) -> Vec<Replica> {
    let running: Vec<_> = (0..count).map(|_| Running::start(&mut command(cluster))).collect();
    running.into_iter().map(serving).collect()
}

/// Adds another webhook to the registration, under that host.
pub fn register_another(cluster: &Cluster, host: &str) {
    cluster.change(REGISTRATION, |registration| {
        let mut another = registration["webhooks"][0].clone();
        another["name"] = json!("another.example.com");
        another["clientConfig"] = json!({"url": format!("https://{host}:1{PATH}")});
        registration["webhooks"].as_array_mut().unwrap().push(another);
    });
}

/// Starts one, and waits until it serves.
pub fn start_one(cluster: &Cluster) -> Replica {
    serving(Running::start(&mut command(cluster)))
}

pub fn serving(running: Running) -> Replica {
    let line = running.wait_for("] serving");
    Replica { address: field(&line, "address"), health: field(&line, "health"), running }
}

impl Replica {
    /// Whether who trusts these, as an API server does, gets an answer.
    pub fn is_trusted_by(&self, authorities: &Authorities) -> bool {
        if authorities.is_empty() {
            return false;
        }
        let connection = Connection::open(&https::client(&authorities.to_pem()), self.address);
        connection.is_ok_and(|mut connection| connection.post(PATH, b"{}").unwrap().status == 400)
    }

    /// The serial number of the certificate in use, from `/readyz?verbose`.
    pub fn serial(&self) -> String {
        let report = self.report();
        let (_, rest) = report.split_once("serial ").expect(&report);
        rest.split(' ').next().unwrap().to_owned()
    }

    pub fn report(&self) -> String {
        let url = format!("http://{}/readyz?verbose", self.health);
        testkit::process::sh(&format!("curl -sS '{url}'"))
    }
}

/// Waits until every `caBundle` is such that all replicas are trusted, and returns it.
pub fn trusted(cluster: &Cluster, replicas: &[Replica]) -> Authorities {
    let trusted = || {
        let bundle = bundle(cluster, 0);
        replicas.iter().all(|replica| replica.is_trusted_by(&bundle)).then_some(bundle)
    };
    eventually(|| format!("all to be trusted: {}", cluster.get(REGISTRATION)), trusted)
}
