//! Watches.

use serde_json::{Value, json};
use testkit::cluster::{Cluster, Watch};

use crate::{SECRETS, secret, version};

fn watch(cluster: &Cluster, query: &str) -> Watch {
    cluster.watch("admin", &format!("{SECRETS}?watch=1&{query}"))
}

/// What happened to which, with which data.
fn told(event: Option<Value>) -> String {
    let event = event.expect("an event");
    let object = &event["object"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {}",
        text(&event["type"]),
        text(&object["metadata"]["name"]),
        text(&object["data"]["text"])
    )
}

pub fn from_a_version(cluster: &Cluster) {
    let first = cluster.create(SECRETS, &secret("a", "1"));
    cluster.create(SECRETS, &secret("b", "1"));
    let path = format!("{SECRETS}/a");
    let second = cluster.replace(&path, &secret("a", "2"));
    // Changes nothing, and is no event.
    cluster.replace(&path, &secret("a", "2"));
    let mut all = watch(cluster, &format!("resourceVersion={}", version(&first)));
    let one = format!("fieldSelector=metadata.name%3Da&resourceVersion={}", version(&first));
    let mut one = watch(cluster, &one);
    cluster.delete(&path);
    for wanted in ["ADDED b MQ==", "MODIFIED a Mg==", "DELETED a Mg=="] {
        assert_eq!(told(all.next()), wanted);
    }
    let event = one.next().unwrap();
    assert_eq!((&event["type"], &event["object"]), (&json!("MODIFIED"), &second));
    let event = one.next().unwrap();
    assert_eq!(event["type"], "DELETED");
    assert!(version(&event["object"]) > version(&second));
}

pub fn from_what_is_there(cluster: &Cluster) {
    cluster.create(SECRETS, &secret("a", "1"));
    for query in ["timeoutSeconds=2", "timeoutSeconds=2&resourceVersion=0"] {
        let mut watch = watch(cluster, query);
        assert_eq!(told(watch.next()), "ADDED a MQ==");
        assert_eq!(watch.next(), None, "the time is over");
    }
}

pub fn a_list_by_a_watch(cluster: &Cluster) {
    cluster.create(SECRETS, &secret("a", "1"));
    let query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = watch(cluster, query);
    assert_eq!(told(watch.next()), "ADDED a MQ==");
    let end = watch.next().unwrap();
    assert_eq!((&end["type"], &end["object"]["kind"]), (&json!("BOOKMARK"), &json!("Secret")));
    assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    cluster.create(SECRETS, &secret("b", "1"));
    let next = watch.find(|event| event["type"] != "BOOKMARK");
    assert_eq!(told(next), "ADDED b MQ==");
}

pub fn from_too_long_ago(cluster: &Cluster) {
    let old = version(&cluster.create(SECRETS, &secret("a", "1")));
    let new = version(&cluster.replace(&format!("{SECRETS}/a"), &secret("a", "2")));
    cluster.forget_history();
    let mut past = watch(cluster, &format!("resourceVersion={old}"));
    let event = past.next().unwrap();
    let status = &event["object"];
    assert_eq!((&event["type"], &status["kind"]), (&json!("ERROR"), &json!("Status")));
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("too old resource version: {old} (")), "{message}");
    assert_eq!(past.next(), None);

    // From a list on it goes well.
    let list = version(&cluster.get(SECRETS));
    assert!(list >= new);
    let mut present = watch(cluster, &format!("resourceVersion={list}"));
    cluster.delete(&format!("{SECRETS}/a"));
    assert_eq!(told(present.next()), "DELETED a Mg==");
}

#[test]
fn bookmarks() {
    let cluster = Cluster::fake();
    let here = version(&cluster.get(SECRETS));
    let query = format!("resourceVersion={here}&allowWatchBookmarks=true");
    let elsewhere =
        cluster.create("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "a"}}));
    let event = watch(&cluster, &query).next().unwrap();
    assert_eq!(event["type"], "BOOKMARK");
    assert_eq!(version(&event["object"]), version(&elsewhere), "the counter is one for all");
}

#[test]
fn history_is_bounded() {
    let cluster = Cluster::fake();
    let first = version(&cluster.create(SECRETS, &secret("a", "0")));
    for count in 1..=1000 {
        cluster
            .change(&format!("{SECRETS}/a"), |object| object["data"]["text"] = json!(format!("{count:04}")));
    }
    let told = |version: u64| told(watch(&cluster, &format!("resourceVersion={version}")).next());
    assert_eq!(told(first), "MODIFIED a 0001");
    assert_eq!(told(first - 1), "ERROR - -");
}
