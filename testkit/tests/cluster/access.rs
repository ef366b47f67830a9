//! Who may do what.

use serde_json::json;
use testkit::cluster::Cluster;

use crate::{SECRETS, WEBHOOKS, secret, webhooks};

pub fn by_name(cluster: &Cluster) {
    for name in ["a", "b"] {
        cluster.create(SECRETS, &secret(name, "1"));
    }
    cluster.allow("webhook", &["get", "list", "watch", "update", "create"], "", "secrets", &["a"]);
    let ask = |method: &str, path: &str| {
        let (status, body) = cluster.request_as("webhook", method, path, Some(&secret("a", "2")));
        (status, body["message"].as_str().unwrap_or_default().to_owned(), body["details"].clone())
    };
    let forbidden = |what: &str, verb: &str| {
        format!(
            "secrets{what} is forbidden: User \"webhook\" cannot {verb} resource \"secrets\" in API group \"\" in \
                 the namespace \"default\""
        )
    };
    let (one, other) = (format!("{SECRETS}/a"), format!("{SECRETS}/b"));
    assert_eq!(ask("GET", &one).0, 200);
    assert_eq!(ask("PUT", &one).0, 200);
    let details = json!({"name": "b", "kind": "secrets"});
    assert_eq!(ask("GET", &other), (403, forbidden(" \"b\"", "get"), details.clone()));
    assert_eq!(ask("PUT", &other), (403, forbidden(" \"b\"", "update"), details.clone()));
    let a = json!({"name": "a", "kind": "secrets"});
    assert_eq!(ask("DELETE", &one), (403, forbidden(" \"a\"", "delete"), a));

    // Lists and watches count as for the name that they select.
    let select = |name: &str, more: &str| format!("{SECRETS}?fieldSelector=metadata.name%3D{name}{more}");
    assert_eq!(ask("GET", &select("a", "")).0, 200);
    assert_eq!(ask("GET", &select("a", "&watch=1&timeoutSeconds=1")).0, 200);
    assert_eq!(ask("GET", &select("b", "")), (403, forbidden(" \"b\"", "list"), details.clone()));
    assert_eq!(ask("GET", &select("b", "&watch=true")), (403, forbidden(" \"b\"", "watch"), details));
    let all = json!({"kind": "secrets"});
    assert_eq!(ask("GET", SECRETS), (403, forbidden("", "list"), all.clone()));
    assert_eq!(ask("GET", &format!("{SECRETS}?watch=1")), (403, forbidden("", "watch"), all.clone()));
    // A creation has no name yet.
    assert_eq!(ask("POST", SECRETS), (403, forbidden("", "create"), all));
}

pub fn of_a_group_and_the_whole_cluster(cluster: &Cluster) {
    cluster.create(WEBHOOKS, &webhooks("a", "YQ=="));
    let path = format!("{WEBHOOKS}/a");
    let (status, refused) = cluster.request_as("webhook", "GET", &path, None);
    let (group, resource) = ("admissionregistration.k8s.io", "mutatingwebhookconfigurations");
    let message = format!(
        "{resource}.{group} \"a\" is forbidden: User \"webhook\" cannot get resource \"{resource}\" in API group \
             \"{group}\" at the cluster scope"
    );
    assert_eq!((status, &refused["message"]), (403, &json!(message)));
    assert_eq!(refused["details"], json!({"name": "a", "group": group, "kind": resource}));
    cluster.allow("webhook", &["get"], group, resource, &[]);
    assert_eq!(cluster.request_as("webhook", "GET", &path, None).0, 200);
    assert_eq!(cluster.request_as("gitops", "GET", &path, None).0, 403);
}

pub fn in_one_namespace(cluster: &Cluster) {
    let base = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system";
    let group = "rbac.authorization.k8s.io";
    let rule = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"]});
    cluster.create(&format!("{base}/roles"), &json!({"metadata": {"name": "reader"}, "rules": [rule]}));
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "webhook"}],
    });
    cluster.create(&format!("{base}/rolebindings"), &binding);
    let list = |path: &str| cluster.request_as("webhook", "GET", path, None).0;
    let there = || (list("/api/v1/namespaces/kube-system/secrets") == 200).then_some(());
    testkit::eventually(|| "the role to count".to_owned(), there);
    assert_eq!(list(SECRETS), 403);
    assert_eq!(list("/api/v1/secrets"), 403);
}
