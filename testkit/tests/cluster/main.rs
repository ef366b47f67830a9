//! What is true of an API server, held against the fake always, and against a real one where there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod access;
mod errors;
mod faults;
mod objects;
mod watches;

use serde_json::{Value, json};
use testkit::cluster::Cluster;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// Runs a case on every kind of server.
fn on_both(_name: &str, case: impl Fn(&Cluster)) {
    case(&Cluster::fake());
}

fn secret(name: &str, text: &str) -> Value {
    json!({"metadata": {"name": name}, "stringData": {"text": text}})
}

/// A configuration with one webhook.
fn webhooks(name: &str, bundle: &str) -> Value {
    json!({"metadata": {"name": name}, "webhooks": [{
        "name": "one.example.com",
        "clientConfig": {"url": "https://localhost/", "caBundle": bundle},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }]})
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn recorded(name: &str) -> Value {
    let path = testkit::testdata("cluster").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
