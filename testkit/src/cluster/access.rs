//! Who may do what: RBAC by the roles and bindings in the store, as the real authorizer does it
//! (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/>).

use serde_json::Value;

use super::{
    kind::{Asked, Kind},
    store::Store,
};

/// May this user do that? The administrator may do everything, like the group `system:masters`.
pub(super) fn allowed(store: &Store, user: &str, asked: &Asked) -> bool {
    user == super::ADMINISTRATOR
        || bound(store, user, "clusterrolebindings", "", asked)
        || (!asked.namespace.is_empty() && bound(store, user, "rolebindings", &asked.namespace, asked))
}

/// By a binding of that namespace, or of none?
fn bound(store: &Store, user: &str, bindings: &str, namespace: &str, asked: &Asked) -> bool {
    let bindings = Kind::of(bindings).map(|kind| store.list(kind, namespace, "")).unwrap_or_default();
    bindings.into_iter().filter(|binding| names(binding, user)).any(|binding| {
        let reference = &binding["roleRef"];
        let (resource, namespace) = match reference["kind"].as_str() {
            Some("Role") => ("roles", namespace),
            _ => ("clusterroles", ""),
        };
        let role = Kind::of(resource)
            .and_then(|kind| store.find(kind, namespace, reference["name"].as_str().unwrap_or_default()));
        let rules = role.and_then(|role| role["rules"].as_array());
        rules.is_some_and(|rules| rules.iter().any(|rule| covers(rule, asked)))
    })
}

/// Is the user a subject of this binding?
fn names(binding: &Value, user: &str) -> bool {
    let group = if user == super::ANONYMOUS { "system:unauthenticated" } else { "system:authenticated" };
    binding["subjects"].as_array().is_some_and(|subjects| {
        subjects.iter().any(|subject| match subject["kind"].as_str() {
            Some("User") => subject["name"] == user,
            Some("Group") => subject["name"] == group,
            _ => false,
        })
    })
}

/// Does a rule cover that? Names on it don't cover a request without one, such as a list or a creation.
fn covers(rule: &Value, asked: &Asked) -> bool {
    let Asked { verb, group, resource, subresource, name, .. } = asked;
    let resource =
        if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
    let has = |key: &str, wanted: &str| {
        let list = rule[key].as_array();
        list.is_some_and(|list| list.iter().any(|entry| entry == wanted || entry == "*"))
    };
    let names = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
    has("verbs", verb)
        && has("apiGroups", group)
        && has("resources", &resource)
        && names.is_none_or(|names| names.iter().any(|entry| entry == name.as_str()))
}
