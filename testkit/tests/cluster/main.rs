//! What is true of an API server, held against the fake always, and against a real one where there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod access;
mod errors;
mod faults;
mod objects;
mod watches;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};
use testkit::cluster::Cluster;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

testkit::cluster_cases! {
    access: by_name, of_a_group_and_the_whole_cluster, in_one_namespace;
    errors: recorded_answers, conflicts, an_object_of_the_same_name_is_another_one, an_update_without_a_version,
        what_can_not_be_read, what_a_secret_must_have, what_is_not_there, a_creation_that_can_not_be;
    objects: a_life, an_update_that_changes_nothing_keeps_its_version, patches, lists, lists_by_label, names_are_generated,
        what_is_empty_is_left_out, webhooks_have_defaults;
    watches: from_a_version, from_what_is_there, a_list_by_a_watch, from_too_long_ago;
}

/// All cases on one server, since it takes long to start; each finds it as the first did.
#[test]
fn real() {
    let Some(cluster) = Cluster::real() else {
        return testkit::skipped("cluster::real", "KUBEBUILDER_ASSETS is not set");
    };
    let failed = CASES.iter().filter(|(name, case)| {
        println!("{name}");
        let failed = catch_unwind(AssertUnwindSafe(|| case(&cluster))).is_err();
        clean(&cluster);
        failed
    });
    let failed: Vec<_> = failed.map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "the real one differs in {failed:?}");
}

/// Removes what cases leave.
fn clean(cluster: &Cluster) {
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    let system = "namespaces/kube-system";
    for (collection, prefix) in [
        (SECRETS.to_owned(), ""),
        (format!("/api/v1/{system}/secrets"), ""),
        (WEBHOOKS.to_owned(), ""),
        (format!("{roles}/clusterroles"), "webhook-"),
        (format!("{roles}/clusterrolebindings"), "webhook-"),
        (format!("{roles}/{system}/roles"), "reader"),
        (format!("{roles}/{system}/rolebindings"), "reader"),
    ] {
        for item in cluster.get(&collection)["items"].as_array().unwrap() {
            let name = item["metadata"]["name"].as_str().unwrap();
            if name.starts_with(prefix) {
                cluster.delete(&format!("{collection}/{name}"));
            }
        }
    }
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
