//! What to add to a Pod. Pure.

use std::collections::HashSet;

use json_patch::{AddOperation, Patch, PatchOperation};
use jsonptr::{PointerBuf, Token};
use k8s_openapi::api::core::v1::EnvVar;
use serde_json::Value;

use crate::{
    env::Injection,
    json::{Lenient, Malformed, Object, brief},
    review::{
        Request,
        pod::{Container, Pod, PodSpec},
    },
};

/// What comes of a request. Always "allowed".
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Add variables; never an empty patch.
    Patch(Patch),
    /// A Pod that has all it needs.
    Unchanged,
    /// A Pod that is none of ours to change.
    Skipped,
    /// Something that this webhook should not have been asked, or could not read; a line for the user.
    Warn(String),
}

/// Values of the inject label that mean no: `disable`, and Go's spellings of false.
pub const OPTED_OUT: [&str; 7] = ["disable", "f", "F", "FALSE", "false", "False", "0"];

/// Decides on one request.
///
/// # Errors
/// When a variable can't be put into JSON, which does not happen.
pub fn decide(request: &Request<'_>, injection: &Injection) -> Result<Decision, serde_json::Error> {
    let warn = |why: String| Ok(Decision::Warn(format!("nothing injected: {why}")));
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
        ("UPDATE" | "CREATE", _) if request.object.0 != Ok(None) => return Ok(Decision::Skipped),
        ("UPDATE" | "CREATE", _) => return warn("the request has no object".to_owned()),
        ("DELETE" | "CONNECT", _) => return Ok(Decision::Skipped),
        (other, _) => return warn(format!("{:?} is not an operation", brief(other))),
    };
    let pod = match readable(&request.object, "object") {
        Ok(Some(pod)) => pod,
        Ok(None) => return warn("the request has no object".to_owned()),
        Err(Malformed(why)) => return warn(format!("the Pod is malformed: {why}")),
    };
    let opted_out = pod.inject.as_deref().is_some_and(|value| OPTED_OUT.contains(&value));
    if opted_out || pod.mirror {
        return Ok(Decision::Skipped);
    }
    let Some(spec) = &pod.spec else {
        return warn("the Pod is malformed: object.spec is missing".to_owned());
    };
    // A container that may have been there before must not be touched: the update would be refused as a whole.
    let old = match readable(&request.old_object, "oldObject") {
        _ if !debugging => None,
        Ok(Some(Pod { spec: Some(old), .. })) => Some(old),
        Ok(_) => return warn("the request has no oldObject, or one without spec".to_owned()),
        Err(Malformed(why)) => return warn(format!("the Pod was malformed before: {why}")),
    };
    let operations = operations(spec, debugging, old, injection)?;
    Ok(if operations.is_empty() { Decision::Unchanged } else { Decision::Patch(Patch(operations)) })
}

fn readable<'a>(object: &'a Lenient<Pod>, key: &str) -> Result<Option<&'a Pod>, Malformed> {
    object.0.as_ref().map(Option::as_ref).map_err(|malformed| malformed.clone().under(key))
}

/// Init containers, then containers, then ephemeral containers, each list in its own order. While debugging
/// (an update of `ephemeralcontainers`), only ephemeral containers that were not there before.
fn operations(
    spec: &PodSpec,
    debugging: bool,
    old: Option<&PodSpec>,
    injection: &Injection,
) -> Result<Vec<PatchOperation>, serde_json::Error> {
    let old = old.map(|old| old.ephemeral_containers.as_slice()).unwrap_or_default();
    let old: HashSet<&str> = old.iter().map(|container| container.name.as_str()).collect();
    let lists = [
        ("initContainers", &spec.init_containers, !debugging),
        ("containers", &spec.containers, !debugging),
        ("ephemeralContainers", &spec.ephemeral_containers, injection.ephemeral_containers),
    ];
    let mut operations = Vec::new();
    for (list, containers, _) in lists.into_iter().filter(|(.., changeable)| *changeable) {
        for (index, container) in containers.iter().enumerate() {
            if !old.contains(container.name.as_str()) {
                add(list, index, container, injection, &mut operations)?;
            }
        }
    }
    Ok(operations)
}

/// One operation where the container has no environment, else one a variable, at the end.
fn add(
    list: &'static str,
    index: usize,
    container: &Container,
    injection: &Injection,
    operations: &mut Vec<PatchOperation>,
) -> Result<(), serde_json::Error> {
    let env = container.env.unwrap_or_default();
    let missing: Vec<&EnvVar> = injection
        .variables
        .iter()
        .filter(|(variable, _)| !env.present.contains(*variable))
        .map(|(_, entry)| entry)
        .collect();
    let path = |rest: &[Token<'static>]| {
        let mut path = PointerBuf::from_tokens([
            Token::new("spec"),
            Token::new(list),
            Token::from(index),
            Token::new("env"),
        ]);
        rest.iter().for_each(|token| path.push_back(token.clone()));
        path
    };
    let mut push =
        |path: PointerBuf, value: Value| operations.push(PatchOperation::Add(AddOperation { path, value }));
    if container.env.is_none() && !missing.is_empty() {
        push(path(&[]), serde_json::to_value(missing)?);
        return Ok(());
    }
    for (position, entry) in (env.len..).zip(missing) {
        push(path(&[Token::from(position)]), serde_json::to_value(entry)?);
    }
    Ok(())
}
