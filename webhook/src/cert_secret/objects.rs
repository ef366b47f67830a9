//! One object of an API server: read, replaced, waited for.
//!
//! It is JSON all the way: a typed object would lose the fields that a later Kubernetes adds, and a Secret must not
//! come into a log, which the client library's own parsing does to an answer that it can't read.

use std::{pin::pin, time::Duration};

use axum::http::{Method, Request, StatusCode, header};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body, core::WatchEvent};
use serde_json::Value;

use crate::certificates::seconds_since_1970;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long to wait for a change, at most, before the object is read again.
pub const WATCH_TIME: Duration = Duration::from_secs(300);
/// Longest answer, in bytes: an object has 1.5 MB at most, the limit of etcd.
const LONGEST: usize = 4 * 1024 * 1024;

/// Why a request to the API server came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Somebody else has changed the object since it was read.
    #[error("it was changed by somebody else at the same time")]
    Conflict,
    /// The API server said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It could not be asked, or gave no answer.
    #[error("{0}")]
    Failed(String),
}

/// An object as it is now, and when that was.
#[derive(Debug, Clone)]
pub struct Read {
    /// As JSON; none where there is no such object.
    pub object: Option<Value>,
    /// By the API server's clock, in seconds since 1970. Its own clock is what it measures certificates by.
    pub now: i64,
}

/// Where an object is.
#[derive(Debug, Clone)]
pub struct Object {
    client: ClientBox,
    collection: String,
    name: String,
    what: String,
}

/// A client says nothing of itself.
#[derive(Clone)]
struct ClientBox(Client);

impl std::fmt::Debug for ClientBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Object {
    /// A Secret.
    #[must_use]
    pub fn secret(client: Client, namespace: &str, name: &str) -> Self {
        let collection = format!("/api/v1/namespaces/{namespace}/secrets");
        let what = format!("Secret {namespace}/{name}");
        Self { client: ClientBox(client), collection, name: name.to_owned(), what }
    }

    /// A MutatingWebhookConfiguration.
    #[must_use]
    pub fn webhook_configuration(client: Client, name: &str) -> Self {
        let collection = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".to_owned();
        let what = format!("MutatingWebhookConfiguration {name}");
        Self { client: ClientBox(client), collection, name: name.to_owned(), what }
    }

    /// Kind and name, for a person.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`ApiError`], but for an object that is not there.
    pub async fn get(&self) -> Result<Read, ApiError> {
        match self.ask(Method::GET, None).await {
            Ok((object, now)) => Ok(Read { object: Some(object), now }),
            Err(ApiError::Refused { status: 404, .. }) => {
                Ok(Read { object: None, now: seconds_since_1970() })
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces it, unless it was changed since it was read, and returns what it is then.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn replace(&self, object: &Value) -> Result<Value, ApiError> {
        self.ask(Method::PUT, Some(object)).await.map(|(object, _)| object)
    }

    async fn ask(&self, method: Method, object: Option<&Value>) -> Result<(Value, i64), ApiError> {
        let failed = |error: &dyn std::fmt::Display| ApiError::Failed(error.to_string());
        let body = object.map(serde_json::to_vec).transpose().map_err(|error| failed(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/{}", self.collection, self.name))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.unwrap_or_default()))
            .map_err(|error| failed(&error))?;
        let answered = async {
            let response = self.client.0.send(request).await.map_err(|error| failed(&causes(&error)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| failed(&error))?;
            Ok((parts, body.to_bytes()))
        };
        let late = || ApiError::Failed(format!("no answer within {} s", ANSWER_TIME.as_secs()));
        let (parts, body) =
            tokio::time::timeout(ANSWER_TIME, answered).await.unwrap_or_else(|_| Err(late()))?;
        let object: Option<Value> = serde_json::from_slice(&body).ok();
        if !parts.status.is_success() {
            let message = object.as_ref().and_then(|status| status.get("message")).and_then(Value::as_str);
            let message = message.map_or_else(|| format!("HTTP {}", parts.status), ToOwned::to_owned);
            return Err(match parts.status {
                StatusCode::CONFLICT => ApiError::Conflict,
                status => ApiError::Refused { status: status.as_u16(), message },
            });
        }
        let date = parts.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        let now = since.and_then(|since| i64::try_from(since.as_secs()).ok());
        let object = object.ok_or_else(|| ApiError::Failed("the answer is not JSON".to_owned()))?;
        Ok((object, now.unwrap_or_else(seconds_since_1970)))
    }

    /// Waits until it is another one than that, or [`WATCH_TIME`] is over.
    ///
    /// # Errors
    /// [`ApiError`], when nothing can be said of changes.
    pub async fn changed(&self, from: Option<&Value>) -> Result<(), ApiError> {
        let version = from.and_then(version).unwrap_or_default();
        // Without a version the watch begins with what is there.
        let seconds = WATCH_TIME.as_secs();
        let uri = format!(
            "{}?watch=1&fieldSelector=metadata.name%3D{}&timeoutSeconds={seconds}&resourceVersion={version}",
            self.collection, self.name
        );
        let failed = |error: &dyn std::fmt::Display| ApiError::Failed(error.to_string());
        let request = Request::get(uri).body(Vec::new()).map_err(|error| failed(&error))?;
        let changed = async {
            let events = self.client.0.request_events::<Value>(request).await;
            let mut events = pin!(events.map_err(|error| failed(&causes(&error)))?);
            while let Some(event) = events.try_next().await.map_err(|error| failed(&causes(&error)))? {
                match event {
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                    WatchEvent::Error(status) => return Err(ApiError::Failed(status.message.clone())),
                    WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => return Ok(()),
                }
            }
            Ok(())
        };
        // The API server ends it; this is for connections that hang.
        tokio::time::timeout(WATCH_TIME + ANSWER_TIME, changed).await.unwrap_or(Ok(()))
    }
}

/// The version of an object.
fn version(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("resourceVersion")?.as_str()
}

/// An error with what caused it: the library's own text often says no more than that something failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
