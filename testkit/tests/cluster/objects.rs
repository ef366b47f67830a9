//! What becomes of an object.

use serde_json::json;

use crate::{SECRETS, WEBHOOKS, on_both, secret, version, webhooks};

#[test]
fn a_life() {
    on_both("a_life", |cluster| {
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
        assert_eq!(
            (&changed["data"], &changed["metadata"]["uid"]),
            (&json!({"b": "Mg=="}), &metadata["uid"])
        );

        let (status, gone) = cluster.request("DELETE", &path, None);
        assert_eq!((status, &gone["status"]), (200, &json!("Success")));
        assert_eq!(gone["details"], json!({"name": "a", "kind": "secrets", "uid": metadata["uid"]}));
        assert_eq!(cluster.request("GET", &path, None).0, 404);
    });
}

#[test]
fn an_update_that_changes_nothing_keeps_its_version() {
    on_both("an_update_that_changes_nothing_keeps_its_version", |cluster| {
        for (path, object) in [(SECRETS, secret("a", "1")), (WEBHOOKS, webhooks("a", "YQ=="))] {
            let made = cluster.create(path, &object);
            let path = format!("{path}/a");
            let same = cluster.replace(&path, &made);
            assert_eq!(same, made);
            let (status, same) =
                cluster.request("PATCH", &path, Some(&json!({"metadata": {"labels": null}})));
            assert_eq!((status, version(&same)), (200, version(&made)));
        }
        // Without a version, and with the data in another form.
        let made = cluster.get(&format!("{SECRETS}/a"));
        assert_eq!(version(&cluster.replace(&format!("{SECRETS}/a"), &secret("a", "1"))), version(&made));
    });
}

#[test]
fn patches() {
    on_both("patches", |cluster| {
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
    });
}

#[test]
fn lists() {
    on_both("lists", |cluster| {
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
    });
}

#[test]
fn names_are_generated() {
    on_both("names_are_generated", |cluster| {
        let made = cluster.create(SECRETS, &json!({"metadata": {"generateName": "a-"}}));
        let name = made["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("a-") && name.len() == 7, "{name}");
    });
}
