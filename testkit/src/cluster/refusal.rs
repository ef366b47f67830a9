//! Errors, as `metav1.Status` in the words of a kube-apiserver 1.36 (`testdata/cluster` has recorded ones; the
//! words come from `k8s.io/apimachinery/pkg/api/errors`).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::kind::{Asked, Kind, with_group};

/// An answer other than what was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Value>) -> Self {
        Self { code, reason, message: message.into(), details }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", None)
    }

    pub(super) fn forbidden(user: &str, asked: &Asked) -> Self {
        let Asked { verb, group, resource, name, namespace, subresource, .. } = asked;
        let mut what = with_group(resource, group);
        if !name.is_empty() {
            what.push_str(&format!(" {name:?}"));
        }
        let scope = match namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        let message = format!(
            "{what} is forbidden: User {user:?} cannot {verb} resource \"{resource}{part}\" in API group {group:?} \
             {scope}"
        );
        Self::new(403, "Forbidden", message, Some(details(name, group, resource)))
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::about(404, "NotFound", kind, name, &format!("{} {name:?} not found", kind.qualified()))
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::about(
            409,
            "AlreadyExists",
            kind,
            name,
            &format!("{} {name:?} already exists", kind.qualified()),
        )
    }

    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified());
        Self::about(409, "Conflict", kind, name, &message)
    }

    fn about(code: u16, reason: &'static str, kind: &Kind, name: &str, message: &str) -> Self {
        Self::new(code, reason, message, Some(details(name, kind.group, kind.resource)))
    }

    /// The content is wrong: reason, field and message of each cause.
    pub(super) fn invalid(kind: &Kind, name: &str, causes: &[(&str, &str, &str)]) -> Self {
        Self::invalid_as(kind.kind, kind.group, name, causes)
    }

    /// An update without a version, of a kind that must have one. It alone says the resource instead of the kind.
    pub(super) fn without_version(kind: &Kind, name: &str) -> Self {
        let message = "Invalid value: 0: must be specified for an update";
        let cause = ("FieldValueInvalid", "metadata.resourceVersion", message);
        Self::invalid_as(kind.resource, kind.group, name, &[cause])
    }

    fn invalid_as(what: &str, group: &str, name: &str, causes: &[(&str, &str, &str)]) -> Self {
        let said: Vec<String> =
            causes.iter().map(|(_, field, message)| format!("{field}: {message}")).collect();
        let said = if causes.len() == 1 { said.concat() } else { format!("[{}]", said.join(", ")) };
        let cause = |(reason, field, message): &(&str, &str, &str)| json!({"reason": reason, "message": message, "field": field});
        let mut details = details(name, group, what);
        details["causes"] = causes.iter().map(cause).collect();
        let message = format!("{} {name:?} is invalid: {said}", with_group(what, group));
        Self::new(422, "Invalid", message, Some(details))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, None)
    }

    /// What was sent can't be decoded as that kind.
    pub(super) fn undecodable(kind: &Kind, why: &str) -> Self {
        let Kind { kind, version, .. } = kind;
        Self::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    }

    /// What was sent is no object at all.
    pub(super) fn unrecognized(kind: &Kind, why: &str) -> Self {
        Self::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why}",
            kind.kind
        ))
    }

    /// A group that there is, without such a resource.
    pub(super) fn no_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message, Some(json!({})))
    }

    pub(super) fn no_method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, Some(json!({})))
    }

    pub(super) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        Self::new(403, "Forbidden", message, Some(json!({})))
    }

    /// A JSON patch that does not apply.
    pub(super) fn inapplicable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message, Some(json!({})))
    }

    pub(super) fn unsupported_media_type() -> Self {
        let message = "415: Unsupported Media Type";
        Self::new(415, "UnsupportedMediaType", message, Some(json!({})))
    }

    /// A version on creation: an error of the storage that the real one does not translate.
    pub(super) fn version_on_create() -> Self {
        Self::new(500, "", "resourceVersion should not be set on objects to be created", None)
    }

    /// The history does not go back that far.
    pub(super) fn expired(version: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {version} ({oldest})"), None)
    }

    /// There is no such version yet.
    pub(super) fn future(version: u64, current: u64) -> Self {
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        let message = format!("Timeout: Too large resource version: {version}, current: {current}");
        Self::new(504, "Timeout", message, Some(json!({"causes": [cause], "retryAfterSeconds": 1})))
    }

    /// What the real one can and the fake can't: better said than done wrong.
    pub(super) fn beyond_the_fake(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("the fake API server knows no {what}"), None)
    }

    /// A fault that a test asked for.
    pub(super) fn fault(code: u16) -> Self {
        let (reason, message) = match code {
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            _ => ("InternalError", "Internal error occurred: a test asked for it"),
        };
        Self::new(code, reason, message, None)
    }

    /// As JSON.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = answer(self.code, &status);
        if let Some(seconds) = status["details"]["retryAfterSeconds"].as_u64() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Too many requests: told before anything knows how to write a Status, so in plain text (`tooManyRequests` in
/// k8s.io/apiserver/pkg/server/filters).
pub(super) fn too_many_requests() -> Response {
    let headers = [(header::RETRY_AFTER, "1")];
    (StatusCode::TOO_MANY_REQUESTS, headers, "Too many requests, please try again later.\n").into_response()
}

/// JSON with a status.
pub(super) fn answer(code: u16, body: &Value) -> Response {
    let code = StatusCode::from_u16(code).expect("a status");
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What a Status says of its object; empty fields are left out.
pub(super) fn details(name: &str, group: &str, kind: &str) -> Value {
    let fields = [("name", name), ("group", group), ("kind", kind)];
    let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(said.map(|(key, value)| (key.to_owned(), json!(value))).collect::<Map<_, _>>())
}
