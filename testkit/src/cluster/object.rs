//! What the real API server makes of an object that is sent to it.

use std::hash::{BuildHasher, RandomState};

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{kind::Kind, refusal::Refusal, schema};

const STALE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

pub(super) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Reads an object of that kind: kind, version and namespace may be left out, and are filled in.
pub(super) fn decode(kind: &Kind, namespace: &str, body: &Value) -> Result<Value, Refusal> {
    let mut object = body.clone();
    if !object.is_object() {
        return Err(Refusal::unrecognized(kind, "not an object"));
    }
    drop_nulls(&mut object);
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let (ours, version) = (kind.kind, kind.api_version());
    for (key, wanted) in [("kind", ours), ("apiVersion", version.as_str())] {
        let sent = object[key].as_str().unwrap_or(wanted);
        if sent != wanted {
            return Err(Refusal::undecodable(kind, &format!("its {key} is {sent:?}")));
        }
        object[key] = json!(wanted);
    }
    if kind.namespaced {
        if object["metadata"]["namespace"].as_str().is_some_and(|sent| sent != namespace) {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object["metadata"]["namespace"] = json!(namespace);
    }
    schema::complete(kind, &mut object)?;
    Ok(object)
}

/// To a Go type, null is the same as nothing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Makes a new object of what was sent.
pub(super) fn begin(kind: &Kind, object: &mut Value) -> Result<(), Refusal> {
    let metadata = &mut object["metadata"];
    if metadata["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
        return Err(Refusal::version_on_create());
    }
    if metadata["name"].is_null() {
        let Some(prefix) = metadata["generateName"].as_str() else {
            let message = "Required value: name or generateName is required";
            return Err(Refusal::invalid(kind, "", &[("FieldValueRequired", "metadata.name", message)]));
        };
        // Five letters of those that make no words, as the real one has them.
        let mut letters = b"bcdfghjklmnpqrstvwxz2456789".to_vec();
        letters.sort_by_cached_key(|_| random());
        let tail = letters.iter().take(5).copied().map(char::from);
        metadata["name"] = json!(format!("{prefix}{}", tail.collect::<String>()));
    }
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a whole second");
    metadata["creationTimestamp"] = json!(now.format(&Rfc3339).expect("a time"));
    metadata["uid"] = json!(uid());
    schema::check(kind, name_of(object), object, None)
}

/// Makes the next state of an object of what was sent, or says why it can't follow on the old one.
pub(super) fn follow(kind: &Kind, object: &mut Value, old: &Value) -> Result<(), Refusal> {
    let (name, is) = (name_of(old).to_owned(), &old["metadata"]);
    let metadata = &mut object["metadata"];
    let given = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    if let Some(uid) = given(&metadata["uid"]).filter(|uid| is["uid"] != uid.as_str()) {
        let now = is["uid"].as_str().unwrap_or_default();
        let space = is["namespace"].as_str().map(|space| format!("{space}/")).unwrap_or_default();
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{space}{name}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {now}",
            kind.resource
        );
        return Err(Refusal::conflict(kind, &name, &why));
    }
    match given(&metadata["resourceVersion"]) {
        Some(version) if is["resourceVersion"] != version.as_str() => {
            return Err(Refusal::conflict(kind, &name, STALE));
        }
        None if !kind.unconditional => return Err(Refusal::without_version(kind, &name)),
        _ => {}
    }
    for key in ["uid", "resourceVersion", "creationTimestamp"] {
        metadata[key] = is[key].clone();
    }
    schema::check(kind, &name, object, Some(old))
}

/// A number that no one guesses; the standard library has no other.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// A random one, version 4.
fn uid() -> String {
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}
