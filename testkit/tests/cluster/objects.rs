//! What becomes of an object.

use serde_json::json;
use testkit::cluster::Cluster;

use crate::{SECRETS, WEBHOOKS, secret, version, webhooks};

pub fn a_life(cluster: &Cluster) {
    let made = cluster.create(SECRETS, &secret("a", "1"));
    assert_eq!(made["data"], json!({"text": "MQ=="}));
    assert_eq!((&made["stringData"], &made["type"]), (&json!(null), &json!("Opaque")));
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("Secret"), &json!("v1")));
    let metadata = &made["metadata"];
    assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("a"), &json!("default")));
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));

    let path = format!("{SECRETS}/a");
    assert_eq!(cluster.get(&path), made);
    let changed = cluster.change(&path, |object| object["data"] = json!({"b": "Mg=="}));
    assert!(version(&changed) > version(&made));
    assert_eq!((&changed["data"], &changed["metadata"]["uid"]), (&json!({"b": "Mg=="}), &metadata["uid"]));

    let (status, gone) = cluster.request("DELETE", &path, None);
    assert_eq!((status, &gone["status"]), (200, &json!("Success")));
    assert_eq!(gone["details"], json!({"name": "a", "kind": "secrets", "uid": metadata["uid"]}));
    assert_eq!(cluster.request("GET", &path, None).0, 404);
}

pub fn an_update_that_changes_nothing_keeps_its_version(cluster: &Cluster) {
    for (path, object) in [(SECRETS, secret("a", "1")), (WEBHOOKS, webhooks("a", "YQ=="))] {
        let made = cluster.create(path, &object);
        let path = format!("{path}/a");
        let same = cluster.replace(&path, &made);
        assert_eq!(same, made);
        let (status, same) = cluster.request("PATCH", &path, Some(&json!({"metadata": {"labels": null}})));
        assert_eq!((status, version(&same)), (200, version(&made)));
    }
    // Without a version, and with the data in another form.
    let made = cluster.get(&format!("{SECRETS}/a"));
    assert_eq!(version(&cluster.replace(&format!("{SECRETS}/a"), &secret("a", "1"))), version(&made));
}

pub fn what_is_empty_is_left_out(cluster: &Cluster) {
    let empty = json!({"metadata": {"name": "a", "labels": {}, "annotations": null}, "data": {}});
    let made = cluster.create(SECRETS, &empty);
    assert_eq!((&made["data"], &made["metadata"]["labels"]), (&json!(null), &json!(null)));
    assert_eq!(version(&cluster.replace(&format!("{SECRETS}/a"), &empty)), version(&made));
    // What was sent in lines is kept in one.
    let lines =
        json!({"metadata": {"name": "b"}, "data": {"text": "YWJj\nYWJj\n"}, "stringData": {"b": "1"}});
    assert_eq!(cluster.create(SECRETS, &lines)["data"], json!({"text": "YWJjYWJj", "b": "MQ=="}));
}

pub fn webhooks_have_defaults(cluster: &Cluster) {
    let mut sent = webhooks("a", "");
    sent["webhooks"][0]["rules"] = json!([{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"]}]);
    sent["webhooks"][0]["clientConfig"] = json!({"caBundle": "", "service": {"name": "a", "namespace": "b"}});
    let made = cluster.create(WEBHOOKS, &sent);
    let mut wanted = sent["webhooks"][0].clone();
    wanted["clientConfig"] = json!({"service": {"name": "a", "namespace": "b", "port": 443}});
    wanted["rules"][0]["scope"] = json!("*");
    wanted["failurePolicy"] = json!("Fail");
    wanted["matchPolicy"] = json!("Equivalent");
    wanted["namespaceSelector"] = json!({});
    wanted["objectSelector"] = json!({});
    wanted["reinvocationPolicy"] = json!("Never");
    wanted["timeoutSeconds"] = json!(10);
    assert_eq!(made["webhooks"], json!([wanted]));
}

pub fn patches(cluster: &Cluster) {
    cluster.create(WEBHOOKS, &webhooks("a", "YQ=="));
    let path = format!("{WEBHOOKS}/a");
    let bundle = "/webhooks/0/clientConfig/caBundle";
    let test = |is: &str| json!([{"op": "test", "path": bundle, "value": is}, {"op": "replace", "path": bundle, "value": "Yg=="}]);
    let (status, patched) = cluster.request("PATCH", &path, Some(&test("YQ==")));
    assert_eq!((status, patched.pointer(bundle)), (200, Some(&json!("Yg=="))));
    let (status, refused) = cluster.request("PATCH", &path, Some(&test("YQ==")));
    let wanted = json!("the server rejected our request due to an error in our request");
    assert_eq!((status, &refused["message"]), (422, &wanted));

    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let (status, patched) = cluster.request("PATCH", &path, Some(&labels));
    assert_eq!((status, &patched["metadata"]["labels"]), (200, &json!({"a": "b"})));
    assert_eq!(patched.pointer(bundle), Some(&json!("Yg==")));

    let (status, refused) = cluster.request("PATCH", &path, Some(&json!([{"op": "nope"}])));
    assert_eq!((status, &refused["message"]), (422, &wanted));
    let (status, refused) = cluster.request("PATCH", &path, Some(&json!("nope")));
    assert_eq!(status, 400);
    assert!(refused["message"].as_str().unwrap().starts_with("error decoding patch: "), "{refused}");
}

pub fn lists_by_label(cluster: &Cluster) {
    for (name, labels) in
        [("a", json!({"of": "x", "more": "y"})), ("b", json!({"of": "z"})), ("c", json!({}))]
    {
        let mut object = secret(name, "1");
        object["metadata"]["labels"] = labels;
        cluster.create(SECRETS, &object);
    }
    for (selector, expected) in
        [("of%3Dx", json!(["a"])), ("of%3Dx,more%3D%3Dy", json!(["a"])), ("of%3Dy", json!([]))]
    {
        let list = cluster.get(&format!("{SECRETS}?labelSelector={selector}"));
        let names: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect();
        assert_eq!(json!(names), expected, "{selector}");
    }
}

pub fn lists(cluster: &Cluster) {
    for name in ["b", "a"] {
        cluster.create(SECRETS, &secret(name, "1"));
    }
    let last = cluster.create("/api/v1/namespaces/kube-system/secrets", &secret("a", "2"));
    let names = |path: &str| {
        let list = cluster.get(path);
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("SecretList"), &json!("v1")));
        assert!(version(&list) >= version(&last));
        let items = list["items"].as_array().unwrap().iter();
        let place = |item: &serde_json::Value| {
            assert_eq!(item["kind"], json!(null));
            format!("{}/{}", item["metadata"]["namespace"], item["metadata"]["name"]).replace('"', "")
        };
        items.map(place).collect::<Vec<_>>()
    };
    assert_eq!(names(SECRETS), ["default/a", "default/b"]);
    assert_eq!(names(&format!("{SECRETS}?fieldSelector=metadata.name%3Db")), ["default/b"]);
    assert_eq!(names(&format!("{SECRETS}?fieldSelector=metadata.name=c")), [""; 0]);
    assert_eq!(names("/api/v1/secrets"), ["default/a", "default/b", "kube-system/a"]);
}

pub fn names_are_generated(cluster: &Cluster) {
    let made = cluster.create(SECRETS, &json!({"metadata": {"generateName": "a-"}}));
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a-") && name.len() == 7, "{name}");
}
