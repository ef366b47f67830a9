//! What to add to a Pod. Pure.

use std::collections::HashSet;

use crate::{
    env::{Entry, Injection, Variable, Variables},
    json::{Lenient, MAX_ENTRIES, Malformed, Object, brief},
    review::{
        Request,
        pod::{Container, Pod, PodSpec},
    },
};

/// What comes of a request. Always "allowed".
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Change environments; at least one, and those of one container one after the other.
    Patch(Vec<Change>),
    /// A Pod that has all it needs.
    Unchanged,
    /// A Pod that is none of ours to change.
    Skipped,
    /// Something that this webhook should not have been asked, or could not read; a line for the user.
    Warn(String),
}

/// What changes in one container. Twelve bytes: it waits for whoever reads a long answer slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Where the container is.
    pub list: List,
    /// And its place there.
    pub index: u16,
    /// What becomes of its environment.
    pub what: What,
}

/// What becomes of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// There is none; these make one.
    New(Variables),
    /// It has that many entries; these come behind them.
    Append(u32, Variables),
    /// The entry at that place, a plain value, becomes another.
    Replace(u32, Variable),
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

/// Decides on one request. `body` is what it was read from, for more of it where that matters.
#[must_use]
pub fn decide(request: &Request<'_>, injection: &Injection, body: &[u8]) -> Decision {
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
    let wanted = injection.wanted(request.namespace.as_deref(), body);
    match changes(spec, debugging, old, injection, wanted) {
        None => warn(format!("it would take more than {MAX_ENTRIES} changes")),
        Some(changes) if changes.is_empty() => Decision::Unchanged,
        Some(changes) => Decision::Patch(changes),
    }
}

fn readable<'a>(object: &'a Lenient<Pod>, key: &str) -> Result<Option<&'a Pod>, Malformed> {
    object.0.as_ref().map(Option::as_ref).map_err(|malformed| malformed.clone().under(key))
}

/// Init containers, then containers, then ephemeral containers, each list in its own order. While debugging
/// (an update of `ephemeralcontainers`), only ephemeral containers that were not there before. Nothing if there were
/// too many.
fn changes(
    spec: &PodSpec,
    debugging: bool,
    old: Option<&PodSpec>,
    injection: &Injection,
    wanted: Variables,
) -> Option<Vec<Change>> {
    let old = old.map(|old| old.ephemeral_containers.as_slice()).unwrap_or_default();
    let old: HashSet<&str> = old.iter().map(|container| container.name.as_str()).collect();
    let lists = [
        (List::Init, !debugging),
        (List::Main, !debugging),
        (List::Ephemeral, injection.ephemeral_containers),
    ];
    let most = lists.iter().map(|(list, _)| list.of(spec).len()).sum();
    let mut changes = Vec::with_capacity(most);
    for (list, _) in lists.into_iter().filter(|(_, changeable)| *changeable) {
        for (index, container) in (0..).zip(list.of(spec)) {
            if !old.contains(container.name.as_str()) {
                let of_container = in_container(container, injection, wanted);
                changes.extend(of_container.map(|what| Change { list, index, what }));
                if changes.len() > MAX_ENTRIES {
                    return None;
                }
            }
        }
    }
    // With several a container it may have doubled, and it waits for whoever reads a long answer slowly.
    if changes.capacity() > MAX_ENTRIES {
        changes.shrink_to_fit();
    }
    Some(changes)
}

fn in_container<'a>(
    container: &'a Container,
    injection: &'a Injection,
    wanted: Variables,
) -> impl Iterator<Item = What> {
    let env = container.env.as_ref();
    let missing = wanted.without(env.map(|env| env.present).unwrap_or_default());
    let added = match env {
        None => What::New(missing),
        Some(env) => What::Append(env.len, missing),
    };
    let overwrite = wanted & injection.overwrite();
    let replaced = env.into_iter().flat_map(|env| &env.plain).filter(move |plain| {
        let is_right = |entry: &Entry| entry.plain().is_some_and(|value| value.reveal() == plain.value);
        overwrite.contains(plain.variable) && !injection.entry(plain.variable).is_some_and(is_right)
    });
    let added = (!missing.is_empty()).then_some(added);
    added.into_iter().chain(replaced.map(|plain| What::Replace(plain.at, plain.variable)))
}

#[cfg(test)]
mod tests {
    use common::egress;

    use super::*;
    use crate::review::Review;

    #[test]
    fn a_change_is_small() {
        assert_eq!(size_of::<Change>(), 12);
    }

    #[test]
    fn the_most_changes_take_no_more_room_than_they_need() {
        let config =
            egress::Config::parse("{proxy: {http: 'http://proxy'}, pods: {overwrite: true}}").unwrap();
        let injection = Injection::new(&"foo.bar.".parse().unwrap(), None, true).with_proxy(&config);
        // Two changes, and one.
        let containers = [r#"{"env":[{"name":"no_proxy","value":"x"}]}"#; 4000].join(",");
        let body = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{{"containers":[{containers}{}]}}}}}}}}"#,
            ",{}".repeat(2000)
        );
        let review = Review::parse(body.as_bytes()).unwrap();
        let Decision::Patch(changes) = decide(&review.request, &injection, body.as_bytes()) else {
            panic!("no patch")
        };
        assert_eq!((changes.len(), changes.capacity()), (MAX_ENTRIES, MAX_ENTRIES));
    }
}
