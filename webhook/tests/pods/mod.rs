//! What a patch may do to a Pod, checked with json-patch, an implementation that is not ours.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use webhook::{
    env::{Entry, Injection, Variable},
    handler,
};

/// The answer to a body, which must be one.
pub fn answer(injection: &Injection, body: &[u8]) -> Value {
    serde_json::from_slice(&handler::review(injection, body).unwrap()).unwrap()
}

/// The patch of an answer, if it has one.
pub fn decoded_patch(answer: &Value) -> Option<Value> {
    let patch = answer["response"]["patch"].as_str()?;
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    Some(serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap())
}

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Applies the patch that a review gets; then every entry that was there is still there, nothing but entries of
/// `env` has come, and the patched Pod gets no patch. With `overwrite`, plain values of the proxy's variables may have
/// become what is wanted.
pub fn assert_only_env_is_added(injection: &Injection, review: &Value) {
    let body = serde_json::to_vec(review).unwrap();
    let Some(patch) = decoded_patch(&answer(injection, &body)) else { return };
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    assert!(!patch.is_empty(), "an empty patch is no patch");

    let before = &review["request"]["object"];
    let mut after = before.clone();
    json_patch::patch(&mut after, &patch).expect("it applies");

    let mut again = review.clone();
    again["request"]["object"] = after.clone();
    let second = answer(injection, &serde_json::to_vec(&again).unwrap());
    assert_eq!(decoded_patch(&second), None, "the second run gives no patch");

    for list in LISTS {
        let containers = after.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let had = &before["spec"][list][index]["env"];
            let kept = had.as_array().map_or(0, Vec::len);
            let Some(env) = container.get_mut("env").and_then(Value::as_array_mut) else { continue };
            for entry in env.split_off(kept) {
                let name = entry["name"].as_str().unwrap();
                assert_eq!(wanted(injection, name), Some(entry.clone()), "{name}");
                let was_there = had.as_array().into_iter().flatten().any(|entry| entry["name"] == *name);
                assert!(!was_there, "{name} was there before");
            }
            for (entry, had) in env.iter_mut().zip(had.as_array().into_iter().flatten()) {
                if entry != had {
                    let variable = Variable::from_name(had["name"].as_str().unwrap()).unwrap();
                    assert!(injection.overwrite().contains(variable) && had["valueFrom"].is_null(), "{had}");
                    assert_eq!(wanted(injection, variable.name()).as_ref(), Some(&*entry));
                    *entry = had.clone();
                }
            }
            // Without what was added: no env, null, or the same list.
            match before["spec"][list][index].get("env") {
                None => drop(container.as_object_mut().unwrap().remove("env")),
                Some(Value::Null) => container["env"] = Value::Null,
                Some(_) => {}
            }
        }
    }
    assert_eq!(after, *before, "everything else is as it was");
}

fn wanted(injection: &Injection, name: &str) -> Option<Value> {
    Variable::from_name(name).and_then(|variable| injection.entry(variable)).map(Entry::to_value)
}
