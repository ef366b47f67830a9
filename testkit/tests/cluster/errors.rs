//! Errors and their words.

use serde_json::{Value, json};
use testkit::cluster::Cluster;

use crate::{SECRETS, WEBHOOKS, on_both, recorded, secret, version, webhooks};

fn refused(
    cluster: &Cluster,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u64, String, String, Value) {
    let (status, body) = cluster.request(method, path, body);
    assert_eq!(
        (&body["kind"], &body["status"], &body["code"]),
        (&json!("Status"), &json!("Failure"), &json!(status))
    );
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    (status.into(), text("reason"), text("message"), body["details"].clone())
}

#[test]
fn recorded_answers() {
    on_both("recorded_answers", |cluster| {
        let get = |user: &str, path: &str| cluster.request_as(user, "GET", path, None).1;
        let namespaces = "/api/v1/namespaces";
        assert_eq!(get("", namespaces), recorded("anonymous.json"));
        assert_eq!(get("no one", namespaces), recorded("unauthorized.json"));
        assert_eq!(get("admin", &format!("{namespaces}/nope")), recorded("notfound.json"));
        let text = get("stranger", namespaces).to_string().replace("stranger", "bob");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), recorded("forbidden.json"));

        let future = format!("{namespaces}?resourceVersion=99999999&resourceVersionMatch=NotOlderThan");
        let (mut answer, mut wanted) = (get("admin", &future), recorded("rv-future.json"));
        let said = answer["message"].take();
        wanted["message"].take();
        assert_eq!(answer, wanted);
        assert!(
            said.as_str().unwrap().starts_with("Timeout: Too large resource version: 99999999, current: ")
        );
    });
}

#[test]
fn conflicts() {
    on_both("conflicts", |cluster| {
        for (path, kind, group, first) in [
            (SECRETS, "secrets", None, secret("a", "1")),
            (
                WEBHOOKS,
                "mutatingwebhookconfigurations",
                Some("admissionregistration.k8s.io"),
                webhooks("a", "YQ=="),
            ),
        ] {
            let qualified = group.map_or_else(|| kind.to_owned(), |group| format!("{kind}.{group}"));
            let mut details = json!({"name": "a", "kind": kind});
            if let Some(group) = group {
                details["group"] = json!(group);
            }
            let old = cluster.create(path, &first);
            let message = format!("{qualified} \"a\" already exists");
            let exists = (409, "AlreadyExists".to_owned(), message, details.clone());
            assert_eq!(refused(cluster, "POST", path, Some(&first)), exists);

            let one = format!("{path}/a");
            cluster.change(&one, |object| object["metadata"]["labels"] = json!({"a": "b"}));
            let stale = format!(
                "Operation cannot be fulfilled on {qualified} \"a\": the object has been modified; please apply \
                 your changes to the latest version and try again"
            );
            let conflict = (409, "Conflict".to_owned(), stale, details.clone());
            let mut change = old.clone();
            change["metadata"]["labels"] = json!({"c": "d"});
            assert_eq!(refused(cluster, "PUT", &one, Some(&change)), conflict);
            let patch =
                json!({"metadata": {"resourceVersion": version(&old).to_string(), "labels": {"c": "d"}}});
            assert_eq!(refused(cluster, "PATCH", &one, Some(&patch)), conflict);

            cluster.delete(&one);
            let missing = (404, "NotFound".to_owned(), format!("{qualified} \"a\" not found"), details);
            for (method, body) in
                [("GET", None), ("PUT", Some(&change)), ("DELETE", None), ("PATCH", Some(&patch))]
            {
                assert_eq!(refused(cluster, method, &one, body), missing, "{method}");
            }
        }
    });
}

#[test]
fn an_object_of_the_same_name_is_another_one() {
    on_both("an_object_of_the_same_name_is_another_one", |cluster| {
        let mut first = cluster.create(SECRETS, &secret("a", "1"));
        let path = format!("{SECRETS}/a");
        cluster.delete(&path);
        cluster.create(SECRETS, &secret("a", "1"));
        first["metadata"]["resourceVersion"].take();
        let (status, reason, message, _) = refused(cluster, "PUT", &path, Some(&first));
        assert_eq!((status, reason.as_str()), (409, "Conflict"));
        assert!(message.contains("Precondition failed: UID in precondition: "), "{message}");
    });
}

#[test]
fn an_update_without_a_version() {
    on_both("an_update_without_a_version", |cluster| {
        cluster.create(SECRETS, &secret("a", "1"));
        cluster.replace(&format!("{SECRETS}/a"), &secret("a", "2"));

        cluster.create(WEBHOOKS, &webhooks("a", "YQ=="));
        let path = format!("{WEBHOOKS}/a");
        let (status, reason, message, details) = refused(cluster, "PUT", &path, Some(&webhooks("a", "Yg==")));
        assert_eq!((status, reason.as_str()), (422, "Invalid"));
        let start = "MutatingWebhookConfiguration.admissionregistration.k8s.io \"a\" is invalid: \
                     metadata.resourceVersion: Invalid value: ";
        assert!(
            message.starts_with(start) && message.ends_with("must be specified for an update"),
            "{message}"
        );
        assert_eq!(details["kind"], "MutatingWebhookConfiguration");
        assert_eq!(details["causes"][0]["reason"], "FieldValueInvalid");
    });
}

#[test]
fn what_can_not_be_read() {
    on_both("what_can_not_be_read", |cluster| {
        let undecodable = |kind: &str, why: &str| {
            format!(
                "{kind} in version \"v1\" cannot be handled as a {kind}: illegal base64 data at input byte {why}"
            )
        };
        let bad = json!({"metadata": {"name": "a"}, "data": {"a": "%%%%"}});
        let (status, reason, message, _) = refused(cluster, "POST", SECRETS, Some(&bad));
        assert_eq!((status, reason.as_str(), message), (400, "BadRequest", undecodable("Secret", "0")));

        let (status, _, message, _) = refused(cluster, "POST", WEBHOOKS, Some(&webhooks("a", "YWJj*")));
        assert_eq!((status, message), (400, undecodable("MutatingWebhookConfiguration", "4")));
    });
}

#[test]
fn a_creation_that_can_not_be() {
    on_both("a_creation_that_can_not_be", |cluster| {
        let (status, reason, message, _) =
            refused(cluster, "POST", "/api/v1/namespaces/nope/secrets", Some(&secret("a", "1")));
        let missing = "namespaces \"nope\" not found";
        assert_eq!((status, reason.as_str(), message.as_str()), (404, "NotFound", missing));

        let (status, _, message, _) = refused(cluster, "POST", SECRETS, Some(&json!({"metadata": {}})));
        let wanted =
            "Secret \"\" is invalid: metadata.name: Required value: name or generateName is required";
        assert_eq!((status, message.as_str()), (422, wanted));

        let known = json!({"metadata": {"name": "a", "resourceVersion": "7"}});
        let (status, _, message, _) = refused(cluster, "POST", SECRETS, Some(&known));
        assert_eq!(
            (status, message.as_str()),
            (500, "resourceVersion should not be set on objects to be created")
        );

        let elsewhere = json!({"metadata": {"name": "a", "namespace": "kube-system"}});
        let (status, _, message, _) = refused(cluster, "POST", SECRETS, Some(&elsewhere));
        let wanted = "the namespace of the provided object does not match the namespace sent on the request";
        assert_eq!((status, message.as_str()), (400, wanted));

        cluster.create(SECRETS, &secret("a", "1"));
        let (status, _, message, _) =
            refused(cluster, "PUT", &format!("{SECRETS}/a"), Some(&secret("b", "1")));
        let wanted = "the name of the object (b) does not match the name on the URL (a)";
        assert_eq!((status, message.as_str()), (400, wanted));

        assert_eq!(cluster.request("GET", "/api/v1/nope", None), (404, json!("404 page not found\n")));
    });
}
