//! What the real API server knows of some kinds: what it fills in, what it wants, what must stay.

use base64::{DecodeError, Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{kind::Kind, refusal::Refusal};

/// What a webhook has that does not say it (`SetDefaults_MutatingWebhook` of the API server).
fn defaults() -> Value {
    json!({
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
        "reinvocationPolicy": "Never", "timeoutSeconds": 10,
    })
}

/// Decodes what is bytes, leaves out what is empty, and fills in the defaults.
pub(super) fn complete(kind: &Kind, object: &mut Value) -> Result<(), Refusal> {
    for key in ["labels", "annotations", "finalizers", "ownerReferences", "generateName"] {
        drop_empty(&mut object["metadata"], key);
    }
    match kind.resource {
        "secrets" => secret(kind, object),
        "mutatingwebhookconfigurations" => {
            let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
            webhooks.into_iter().flatten().try_for_each(|each| webhook(kind, each))
        }
        _ => Ok(()),
    }
}

/// Is the new state of an object one that can be?
pub(super) fn check(kind: &Kind, name: &str, object: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    if kind.resource != "secrets" {
        return Ok(());
    }
    let is = &object["type"];
    if old.is_some_and(|old| old["type"] != *is) {
        let message = format!("Invalid value: {is}: field is immutable");
        return Err(Refusal::invalid(kind, name, &[("FieldValueInvalid", "type", &message)]));
    }
    let wanted = [("tls.crt", "data[tls.crt]"), ("tls.key", "data[tls.key]")];
    let missing =
        wanted.iter().filter(|(key, _)| *is == "kubernetes.io/tls" && object["data"][key].is_null());
    let causes: Vec<_> = missing.map(|(_, field)| ("FieldValueRequired", *field, "Required value")).collect();
    if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(kind, name, &causes)) }
}

/// `stringData` is written into `data`, and never read back.
fn secret(kind: &Kind, object: &mut Value) -> Result<(), Refusal> {
    let data = object.get_mut("data").and_then(Value::as_object_mut);
    data.into_iter().flat_map(|data| data.values_mut()).try_for_each(|value| bytes(kind, value))?;
    let text = object.as_object_mut().and_then(|object| object.remove("stringData"));
    for (key, value) in text.as_ref().and_then(Value::as_object).into_iter().flatten() {
        object["data"][key] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
    }
    drop_empty(object, "data");
    if object["type"].as_str().unwrap_or_default().is_empty() {
        object["type"] = json!("Opaque");
    }
    Ok(())
}

fn webhook(kind: &Kind, webhook: &mut Value) -> Result<(), Refusal> {
    for (key, value) in defaults().as_object().into_iter().flatten() {
        fill(webhook, key, value);
    }
    for rule in webhook.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        fill(rule, "scope", &json!("*"));
    }
    let Some(client) = webhook.get_mut("clientConfig") else { return Ok(()) };
    if let Some(service) = client.get_mut("service") {
        fill(service, "port", &json!(443));
    }
    if let Some(bundle) = client.get_mut("caBundle") {
        bytes(kind, bundle)?;
    }
    drop_empty(client, "caBundle");
    Ok(())
}

fn fill(object: &mut Value, key: &str, value: &Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.entry(key).or_insert_with(|| value.clone());
    }
}

/// Bytes as JSON has them. Go's decoder passes over line ends; errors name the byte, or the group of four that is
/// not whole.
fn bytes(kind: &Kind, value: &mut Value) -> Result<(), Refusal> {
    let text = value.as_str().unwrap_or_default().replace(['\r', '\n'], "");
    let decoded = STANDARD.decode(&text).map_err(|error| {
        let at = if let DecodeError::InvalidByte(at, _) = error { at } else { text.len() / 4 * 4 };
        Refusal::undecodable(kind, &format!("illegal base64 data at input byte {at}"))
    })?;
    *value = json!(STANDARD.encode(decoded));
    Ok(())
}

/// Leaves a field out that is empty, or null (`omitempty` of Go).
fn drop_empty(object: &mut Value, key: &str) {
    let empty = match &object[key] {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(entries) => entries.is_empty(),
        Value::String(text) => text.is_empty(),
        value => value.is_null(),
    };
    if let (true, Some(fields)) = (empty, object.as_object_mut()) {
        fields.remove(key);
    }
}
