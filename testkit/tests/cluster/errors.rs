//! Errors and their words.

use serde_json::{Value, json};
use testkit::cluster::Cluster;

use crate::{SECRETS, WEBHOOKS, recorded, secret, version, webhooks};

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

pub fn recorded_answers(cluster: &Cluster) {
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
    assert!(said.as_str().unwrap().starts_with("Timeout: Too large resource version: 99999999, current: "));
}

pub fn conflicts(cluster: &Cluster) {
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
        let patch = json!({"metadata": {"resourceVersion": version(&old).to_string(), "labels": {"c": "d"}}});
        assert_eq!(refused(cluster, "PATCH", &one, Some(&patch)), conflict);

        cluster.delete(&one);
        let missing = (404, "NotFound".to_owned(), format!("{qualified} \"a\" not found"), details);
        for (method, body) in
            [("GET", None), ("PUT", Some(&change)), ("DELETE", None), ("PATCH", Some(&patch))]
        {
            assert_eq!(refused(cluster, method, &one, body), missing, "{method}");
        }
    }
}

pub fn an_object_of_the_same_name_is_another_one(cluster: &Cluster) {
    let mut first = cluster.create(SECRETS, &secret("a", "1"));
    let path = format!("{SECRETS}/a");
    cluster.delete(&path);
    cluster.create(SECRETS, &secret("a", "1"));
    first["metadata"]["resourceVersion"].take();
    let (status, reason, message, _) = refused(cluster, "PUT", &path, Some(&first));
    assert_eq!((status, reason.as_str()), (409, "Conflict"));
    let start = "Operation cannot be fulfilled on secrets \"a\": StorageError: invalid object, Code: 4, Key: \
                 /registry/secrets/default/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
                 precondition: ";
    assert!(message.starts_with(start), "{message}");
}

pub fn an_update_without_a_version(cluster: &Cluster) {
    cluster.create(SECRETS, &secret("a", "1"));
    cluster.replace(&format!("{SECRETS}/a"), &secret("a", "2"));

    cluster.create(WEBHOOKS, &webhooks("a", "YQ=="));
    let path = format!("{WEBHOOKS}/a");
    let (status, reason, message, details) = refused(cluster, "PUT", &path, Some(&webhooks("a", "Yg==")));
    assert_eq!((status, reason.as_str()), (422, "Invalid"));
    let said = "Invalid value: 0: must be specified for an update";
    let resource = "mutatingwebhookconfigurations";
    let start =
        format!("{resource}.admissionregistration.k8s.io \"a\" is invalid: metadata.resourceVersion: ");
    assert_eq!(message, format!("{start}{said}"));
    let cause = json!({"reason": "FieldValueInvalid", "message": said, "field": "metadata.resourceVersion"});
    let group = "admissionregistration.k8s.io";
    assert_eq!(details, json!({"name": "a", "group": group, "kind": resource, "causes": [cause]}));
}

pub fn what_can_not_be_read(cluster: &Cluster) {
    let undecodable = |kind: &str, why: &str| {
        format!(
            "{kind} in version \"v1\" cannot be handled as a {kind}: illegal base64 data at input byte {why}"
        )
    };
    for (text, at) in [("%%%%", "0"), ("YWJj*", "4"), ("YWJjYW", "4"), ("a", "0")] {
        let bad = json!({"metadata": {"name": "a"}, "data": {"a": text}});
        let (status, reason, message, _) = refused(cluster, "POST", SECRETS, Some(&bad));
        assert_eq!((status, reason.as_str(), message), (400, "BadRequest", undecodable("Secret", at)));

        let (status, _, message, _) = refused(cluster, "POST", WEBHOOKS, Some(&webhooks("a", text)));
        assert_eq!((status, message), (400, undecodable("MutatingWebhookConfiguration", at)));
    }
    let (status, _, message, _) = refused(cluster, "POST", SECRETS, Some(&json!([])));
    let start = "the object provided is unrecognized (must be of type Secret): couldn't get version/kind; json \
                 parse error: ";
    assert!(status == 400 && message.starts_with(start), "{message}");
    let other = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
    assert_eq!(refused(cluster, "POST", SECRETS, Some(&other)).0, 400);
}

pub fn what_a_secret_must_have(cluster: &Cluster) {
    let empty = json!({"metadata": {"name": "a"}, "type": "kubernetes.io/tls"});
    let (status, _, message, details) = refused(cluster, "POST", SECRETS, Some(&empty));
    let wanted = "Secret \"a\" is invalid: [data[tls.crt]: Required value, data[tls.key]: Required value]";
    assert_eq!((status, message.as_str()), (422, wanted));
    assert_eq!(details["causes"].as_array().unwrap().len(), 2);
    // The keys are enough.
    let data = json!({"tls.crt": "", "tls.key": ""});
    let mut made = cluster
        .create(SECRETS, &json!({"metadata": {"name": "a"}, "type": "kubernetes.io/tls", "data": data}));

    made["type"] = json!("Opaque");
    let (status, _, message, _) = refused(cluster, "PUT", &format!("{SECRETS}/a"), Some(&made));
    let wanted = "Secret \"a\" is invalid: type: Invalid value: \"Opaque\": field is immutable";
    assert_eq!((status, message.as_str()), (422, wanted));
}

pub fn what_is_not_there(cluster: &Cluster) {
    let no_resource = (404, "the server could not find the requested resource");
    let no_method = (405, "the server does not allow this method on the requested resource");
    for (method, path, wanted) in [
        ("GET", "/api/v1/nope", no_resource),
        ("GET", "/api/v1/namespaces/default/secrets/a/nope", no_resource),
        ("POST", "/api/v1/secrets", no_method),
        ("POST", "/api/v1/namespaces/default/secrets/a", no_method),
    ] {
        let (status, _, message, details) = refused(cluster, method, path, Some(&secret("a", "1")));
        assert_eq!((status, message.as_str(), details), (wanted.0, wanted.1, json!({})), "{method} {path}");
    }
    for path in ["/nope", "/apis/nope/v1/secrets"] {
        assert_eq!(cluster.request("GET", path, None), (404, json!("404 page not found\n")));
    }
    let (status, answer) = cluster.request_as("stranger", "GET", "/nope", None);
    let wanted = "forbidden: User \"stranger\" cannot get path \"/nope\"";
    assert_eq!((status, &answer["message"]), (403, &json!(wanted)));
    let (status, _, message, _) = refused(cluster, "GET", &format!("{SECRETS}?resourceVersion=x"), None);
    let wanted = "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": \
                  invalid syntax";
    assert_eq!((status, message.as_str()), (400, wanted));
}

pub fn a_creation_that_can_not_be(cluster: &Cluster) {
    let (status, reason, message, _) =
        refused(cluster, "POST", "/api/v1/namespaces/nope/secrets", Some(&secret("a", "1")));
    let missing = "namespaces \"nope\" not found";
    assert_eq!((status, reason.as_str(), message.as_str()), (404, "NotFound", missing));

    let (status, _, message, _) = refused(cluster, "POST", SECRETS, Some(&json!({})));
    let wanted = "Secret \"\" is invalid: metadata.name: Required value: name or generateName is required";
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
    let (status, _, message, _) = refused(cluster, "PUT", &format!("{SECRETS}/a"), Some(&secret("b", "1")));
    let wanted = "the name of the object (b) does not match the name on the URL (a)";
    assert_eq!((status, message.as_str()), (400, wanted));

    let (status, _, message, _) = refused(cluster, "PUT", &format!("{SECRETS}/a"), Some(&json!({})));
    let wanted = "the name of the object (a based on URL) was undeterminable: name must be provided";
    assert_eq!((status, message.as_str()), (400, wanted));
}
