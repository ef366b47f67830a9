//! Which resources the fake has, and what a request asks for.

use std::collections::BTreeMap;

use axum::{
    extract::Query,
    http::{Method, Uri},
};
use serde_json::Value;

use super::refusal::Refusal;

/// A resource.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) resource: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespaced: bool,
    /// Is an update without `metadata.resourceVersion` taken? `AllowUnconditionalUpdate` of the resource's strategy.
    pub(super) unconditional: bool,
}

const KINDS: &[Kind] = &[
    core("namespaces", "Namespace", false),
    core("secrets", "Secret", true),
    core("configmaps", "ConfigMap", true),
    Kind {
        group: "admissionregistration.k8s.io",
        version: "v1",
        resource: "mutatingwebhookconfigurations",
        kind: "MutatingWebhookConfiguration",
        namespaced: false,
        unconditional: false,
    },
    Kind {
        group: "discovery.k8s.io",
        version: "v1",
        resource: "endpointslices",
        kind: "EndpointSlice",
        namespaced: true,
        unconditional: true,
    },
    access("clusterroles", "ClusterRole", false),
    access("clusterrolebindings", "ClusterRoleBinding", false),
    access("roles", "Role", true),
    access("rolebindings", "RoleBinding", true),
];

const fn core(resource: &'static str, kind: &'static str, namespaced: bool) -> Kind {
    Kind { group: "", version: "v1", resource, kind, namespaced, unconditional: true }
}

const fn access(resource: &'static str, kind: &'static str, namespaced: bool) -> Kind {
    Kind {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        resource,
        kind,
        namespaced,
        unconditional: true,
    }
}

impl Kind {
    /// A resource by its name; none of another group has the same.
    pub(super) fn of(resource: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.resource == resource)
    }

    pub(super) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `secrets`, `roles.rbac.authorization.k8s.io`: how errors name it.
    pub(super) fn qualified(&self) -> String {
        with_group(self.resource, self.group)
    }
}

/// A name, with the group after it unless that is the core group.
pub(super) fn with_group(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// What a request asks for, in the words of the authorizer (`RequestInfo` of k8s.io/apiserver).
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) verb: &'static str,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
    /// Empty: of no namespace, or of all.
    pub(super) namespace: String,
    /// Empty: of no name, or of all. A list or a watch for one name (`fieldSelector`) has it.
    pub(super) name: String,
    pub(super) subresource: String,
    pub(super) query: BTreeMap<String, String>,
}

impl Asked {
    /// What it asks for; none where that is no resource.
    pub(super) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let mut asked = Self { query: Query::try_from_uri(uri).ok()?.0, ..Self::default() };
        let mut segments = uri.path().trim_matches('/').split('/').map(ToOwned::to_owned);
        match segments.next()?.as_str() {
            "api" => {}
            "apis" => asked.group = segments.next()?,
            _ => return None,
        }
        asked.version = segments.next()?;
        let mut rest: Vec<String> = segments.collect();
        // A namespace itself lies in that namespace: /api/v1/namespaces/x.
        if rest.first().is_some_and(|first| first == "namespaces") {
            asked.namespace = rest.get(1).cloned().unwrap_or_default();
            if rest.len() > 2 {
                rest.drain(..2);
            }
        }
        let mut rest = rest.into_iter();
        asked.resource = rest.next()?;
        asked.name = rest.next().unwrap_or_default();
        asked.subresource = rest.next().unwrap_or_default();
        asked.verb = match *method {
            Method::GET if !asked.name.is_empty() => "get",
            Method::GET if asked.wants("watch") => "watch",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if asked.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => return None,
        };
        if matches!(asked.verb, "list" | "watch") {
            let selector = asked.query.get("fieldSelector").map(String::as_str).unwrap_or_default();
            let name = selector.split(',').find_map(|part| part.strip_prefix("metadata.name="));
            asked.name = name.unwrap_or_default().trim_start_matches('=').to_owned();
        }
        Some(asked)
    }

    /// Is a flag of the query set?
    pub(super) fn wants(&self, flag: &str) -> bool {
        self.query.get(flag).is_some_and(|value| value == "1" || value == "true")
    }

    /// Those of some objects that have the labels of the query. Of selectors the fake knows `label=value,…`.
    pub(super) fn selected<'a>(&self, mut objects: Vec<&'a Value>) -> Vec<&'a Value> {
        let selector = self.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let wanted = || selector.split(',').filter_map(|part| part.split_once('='));
        objects.retain(|object| {
            wanted()
                .all(|(label, value)| object["metadata"]["labels"][label] == value.trim_start_matches('='))
        });
        objects
    }

    /// A version in the query.
    pub(super) fn since(&self) -> Result<Option<u64>, Refusal> {
        let text = self.query.get("resourceVersion").filter(|text| !text.is_empty());
        let parsed = text.map(|text| {
            text.parse().map_err(|_| {
                Refusal::bad_request(format!(
                    "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing \
                     {text:?}: invalid syntax"
                ))
            })
        });
        parsed.transpose()
    }

    /// The resource, if the fake has it, and that can be done with it.
    pub(super) fn kind(&self) -> Result<&'static Kind, Refusal> {
        let known =
            Kind::of(&self.resource).filter(|kind| kind.group == self.group && kind.version == self.version);
        let kind = known.filter(|_| self.subresource.is_empty()).ok_or_else(Refusal::no_resource)?;
        if !kind.namespaced && !self.namespace.is_empty() && kind.resource != "namespaces" {
            return Err(Refusal::no_resource());
        }
        // Of all namespaces at once there is reading only, and what is made has no name in the path.
        let nowhere = kind.namespaced && self.namespace.is_empty() && !matches!(self.verb, "list" | "watch");
        let named = self.verb == "create" && !self.name.is_empty();
        if nowhere || named { Err(Refusal::no_method()) } else { Ok(kind) }
    }

    /// Is there such a group and version?
    pub(super) fn has_group(&self) -> bool {
        KINDS.iter().any(|kind| kind.group == self.group && kind.version == self.version)
    }
}
