//! What to add to a Pod. Pure.

use std::collections::HashSet;

use crate::{
    env::{Injection, Variables},
    json::{Lenient, MAX_ENTRIES, Malformed, Object, brief},
    review::{
        Request,
        pod::{Container, Pod, PodSpec},
    },
};

/// What comes of a request. Always "allowed".
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Add variables; never to nothing.
    Patch(Vec<Addition>),
    /// A Pod that has all it needs.
    Unchanged,
    /// A Pod that is none of ours to change.
    Skipped,
    /// Something that this webhook should not have been asked, or could not read; a line for the user.
    Warn(String),
}

/// What one container is to get. Twelve bytes: it waits for whoever reads a long answer slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addition {
    /// Where the container is.
    pub list: List,
    /// And its place there.
    pub index: u16,
    /// How many variables it has; nothing where it has no list of them.
    pub env: Option<u32>,
    /// What it has not.
    pub missing: Variables,
}

/// A list of containers in a Pod's spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `initContainers`
    Init,
    /// `containers`
    Main,
    /// `ephemeralContainers`
    Ephemeral,
}

impl List {
    /// Its key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Main => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }

    /// The containers in it.
    #[must_use]
    pub fn of(self, spec: &PodSpec) -> &[Container] {
        match self {
            Self::Init => &spec.init_containers,
            Self::Main => &spec.containers,
            Self::Ephemeral => &spec.ephemeral_containers,
        }
    }
}

/// Values of the inject label that mean no: `disable`, and Go's spellings of false.
pub const OPTED_OUT: [&str; 7] = ["disable", "f", "F", "FALSE", "false", "False", "0"];

/// Decides on one request.
#[must_use]
pub fn decide(request: &Request<'_>, injection: &Injection) -> Decision {
    let warn = |why: String| Decision::Warn(format!("nothing injected: {why}"));
    match &request.kind {
        Some(Object(kind)) if kind.is_pod() => {}
        Some(Object(kind)) => return warn(format!("this webhook is for Pods, not for {kind}")),
        None => return warn("the request names no kind".to_owned()),
    }
    let sub_resource = request.sub_resource.as_deref().unwrap_or_default();
    let debugging = match (request.operation.as_deref().unwrap_or_default(), sub_resource) {
        ("CREATE", "") => false,
        ("UPDATE", "ephemeralcontainers") => true,
        // The environment of a running container can't be changed.
        ("UPDATE" | "CREATE", _) if request.object.0 != Ok(None) => return Decision::Skipped,
        ("UPDATE" | "CREATE", _) => return warn("the request has no object".to_owned()),
        ("DELETE" | "CONNECT", _) => return Decision::Skipped,
        (other, _) => return warn(format!("{:?} is not an operation", brief(other))),
    };
    let pod = match readable(&request.object, "object") {
        Ok(Some(pod)) => pod,
        Ok(None) => return warn("the request has no object".to_owned()),
        Err(Malformed(why)) => return warn(format!("the Pod is malformed: {why}")),
    };
    let opted_out = pod.inject.as_deref().is_some_and(|value| OPTED_OUT.contains(&value));
    if opted_out || pod.mirror {
        return Decision::Skipped;
    }
    let Some(spec) = &pod.spec else {
        return warn("the Pod is malformed: object.spec is missing".to_owned());
    };
    if spec.init_containers.len() + spec.containers.len() + spec.ephemeral_containers.len() > MAX_ENTRIES {
        return warn(format!("the Pod has more than {MAX_ENTRIES} containers"));
    }
    // A container that may have been there before must not be touched: the update would be refused as a whole.
    let old = match readable(&request.old_object, "oldObject") {
        _ if !debugging => None,
        Ok(Some(Pod { spec: Some(old), .. })) => Some(old),
        Ok(_) => return warn("the request has no oldObject, or one without spec".to_owned()),
        Err(Malformed(why)) => return warn(format!("the Pod was malformed before: {why}")),
    };
    let additions = additions(spec, debugging, old, injection);
    if additions.is_empty() { Decision::Unchanged } else { Decision::Patch(additions) }
}

fn readable<'a>(object: &'a Lenient<Pod>, key: &str) -> Result<Option<&'a Pod>, Malformed> {
    object.0.as_ref().map(Option::as_ref).map_err(|malformed| malformed.clone().under(key))
}

/// Init containers, then containers, then ephemeral containers, each list in its own order. While debugging
/// (an update of `ephemeralcontainers`), only ephemeral containers that were not there before.
fn additions(spec: &PodSpec, debugging: bool, old: Option<&PodSpec>, injection: &Injection) -> Vec<Addition> {
    let old = old.map(|old| old.ephemeral_containers.as_slice()).unwrap_or_default();
    let old: HashSet<&str> = old.iter().map(|container| container.name.as_str()).collect();
    let lists = [
        (List::Init, !debugging),
        (List::Main, !debugging),
        (List::Ephemeral, injection.ephemeral_containers),
    ];
    let most = lists.iter().map(|(list, _)| list.of(spec).len()).sum();
    let mut additions = Vec::with_capacity(most);
    for (list, _) in lists.into_iter().filter(|(_, changeable)| *changeable) {
        for (index, container) in (0..).zip(list.of(spec)) {
            let missing = missing(container, injection);
            if !missing.is_empty() && !old.contains(container.name.as_str()) {
                let env = container.env.map(|env| env.len);
                additions.push(Addition { list, index, env, missing });
            }
        }
    }
    additions
}

fn missing(container: &Container, injection: &Injection) -> Variables {
    let present = container.env.unwrap_or_default().present;
    let mut missing = Variables::default();
    let variables = injection.variables.iter().map(|(variable, _)| *variable);
    variables.filter(|variable| !present.contains(*variable)).for_each(|variable| missing.insert(variable));
    missing
}
