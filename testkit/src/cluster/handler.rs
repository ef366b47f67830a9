//! One request to the fake: who asks, may they, and the answer.

use std::{
    fmt::Display,
    sync::{Arc, MutexGuard},
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    ADMINISTRATOR, ANONYMOUS, USERS, access,
    fake::Shared,
    kind::{Asked, Kind},
    refusal::{Refusal, answer, details},
    store::Store,
    stream, token,
};

/// What may stand in a query. Anything else would be done wrong in silence.
const PARAMETERS: [&str; 13] = [
    "labelSelector",
    "allowWatchBookmarks",
    "fieldManager",
    "fieldSelector",
    "fieldValidation",
    "limit",
    "pretty",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeout",
    "timeoutSeconds",
    "watch",
];

pub(super) async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let date = shared.faults.date();
    let mut response = respond(shared, method, uri, headers, body).await;
    response.headers_mut().insert(header::DATE, date);
    response
}

async fn respond(shared: Arc<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let user = match user_of(&headers) {
        Ok(user) => user,
        Err(refusal) => return refusal.into_response(),
    };
    if matches!(uri.path(), "/livez" | "/readyz" | "/healthz") {
        return "ok".into_response();
    }
    let Some(asked) = Asked::of(&method, &uri) else { return other(user, &method, &uri) };
    let (delay, failure) = shared.faults.meet(user, &asked, uri.path());
    tokio::time::sleep(delay).await;
    if let Some(failure) = failure {
        return failure;
    }
    if !access::allowed(&shared.store(), user, &asked) {
        return Refusal::forbidden(user, &asked).into_response();
    }
    if !asked.has_group() {
        return no_such_path();
    }
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = asked.kind().and_then(|kind| known(&asked).map(|()| kind));
    let done = kind.and_then(|kind| match asked.verb {
        "watch" => stream::watch(&shared, kind, asked),
        _ => resource(shared.store(), kind, &asked, media, &body),
    });
    done.unwrap_or_else(IntoResponse::into_response)
}

/// The user that the token names. Without one it is anonymous, and with an unknown one no one.
fn user_of(headers: &HeaderMap) -> Result<&'static str, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(ANONYMOUS) };
    let sent = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    USERS.into_iter().find(|user| sent == token(user)).ok_or_else(Refusal::unauthorized)
}

/// What is no resource.
fn other(user: &str, method: &Method, uri: &Uri) -> Response {
    if user == ADMINISTRATOR {
        return no_such_path();
    }
    let verb = method.as_str().to_ascii_lowercase();
    Refusal::forbidden_path(user, &verb, uri.path()).into_response()
}

fn no_such_path() -> Response {
    (axum::http::StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

/// Does the fake know all that the query asks for?
fn known(asked: &Asked) -> Result<(), Refusal> {
    if let Some(key) = asked.query.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        return Err(Refusal::beyond_the_fake(&format!("parameter {key}")));
    }
    let matching = asked.query.get("resourceVersionMatch").filter(|matching| *matching != "NotOlderThan");
    if let Some(matching) = matching {
        return Err(Refusal::beyond_the_fake(&format!("resourceVersionMatch {matching}")));
    }
    let labels = asked.query.get("labelSelector").filter(|selector| !selector.is_empty());
    let is_equality = |part: &str| part.contains('=') && !part.contains(['!', '(', ' ']);
    if let Some(selector) = labels.filter(|selector| !selector.split(',').all(is_equality)) {
        return Err(Refusal::beyond_the_fake(&format!("labelSelector {selector}")));
    }
    match asked.query.get("fieldSelector").filter(|selector| !selector.is_empty()) {
        Some(selector) if asked.name.is_empty() || selector.contains(',') => {
            Err(Refusal::beyond_the_fake(&format!("fieldSelector {selector}")))
        }
        _ => Ok(()),
    }
}

fn resource(
    mut store: MutexGuard<'_, Store>,
    kind: &'static Kind,
    asked: &Asked,
    media: &str,
    body: &Bytes,
) -> Result<Response, Refusal> {
    let (namespace, name) = (asked.namespace.as_str(), asked.name.as_str());
    let decoded =
        || serde_json::from_slice(body).map_err(|error| Refusal::unrecognized(kind, &error.to_string()));
    let done = match asked.verb {
        "get" => store.get(kind, namespace, name)?,
        "list" => list(&store, kind, asked)?,
        "create" => return Ok(answer(201, &store.create(kind, namespace, &decoded()?)?)),
        "update" => store.update(kind, (namespace, name), &decoded()?)?,
        "patch" => {
            let patched = patched(store.get(kind, namespace, name)?, media, body)?;
            store.update(kind, (namespace, name), &patched)?
        }
        "delete" => {
            let options = if body.is_empty() { Value::Null } else { decoded()? };
            if !options["preconditions"].is_null() {
                return Err(Refusal::beyond_the_fake("preconditions of a deletion"));
            }
            let gone = store.delete(kind, namespace, name)?;
            let mut details = details(name, kind.group, kind.resource);
            details["uid"] = gone["metadata"]["uid"].clone();
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
        }
        verb => return Err(Refusal::beyond_the_fake(verb)),
    };
    Ok(answer(200, &done))
}

fn list(store: &Store, kind: &Kind, asked: &Asked) -> Result<Value, Refusal> {
    if let Some(version) = asked.since()?.filter(|version| *version > store.version()) {
        return Err(Refusal::future(version, store.version()));
    }
    let mut items: Vec<Value> =
        asked.selected(store.list(kind, &asked.namespace, &asked.name)).into_iter().cloned().collect();
    // The list says what they are.
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.retain(|key, _| key != "kind" && key != "apiVersion");
    }
    Ok(json!({
        "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": store.version().to_string()}, "items": items,
    }))
}

fn patched(mut object: Value, media: &str, body: &Bytes) -> Result<Value, Refusal> {
    let unreadable = |error: &dyn Display| Refusal::bad_request(format!("error decoding patch: {error}"));
    let json = || serde_json::from_slice::<Value>(body).map_err(|error| unreadable(&error));
    match media {
        "application/merge-patch+json" => match json()? {
            patch @ Value::Object(_) => json_patch::merge(&mut object, &patch),
            _ => return Err(unreadable(&"it is no object")),
        },
        "application/json-patch+json" => match json()? {
            patch @ Value::Array(_) => {
                let patch: json_patch::Patch =
                    serde_json::from_value(patch).map_err(|_| Refusal::inapplicable())?;
                json_patch::patch(&mut object, &patch).map_err(|_| Refusal::inapplicable())?;
            }
            _ => return Err(unreadable(&"it is no list")),
        },
        // Of other patches than these, the real one knows those with a + in their type.
        other if other.contains('+') => return Err(Refusal::beyond_the_fake(other)),
        _ => return Err(Refusal::unsupported_media_type()),
    }
    Ok(object)
}
