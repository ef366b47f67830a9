//! One object of an API server: read, replaced, waited for.
//!
//! It is JSON all the way: a typed object would lose the fields that a later Kubernetes adds.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{Method, StatusCode, header},
};
use common::apiserver::{Answer, Ask, Server};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::PROGRAM;

/// What the API server is for, in errors.
pub const PURPOSE: &str = "to keep the certificate in (--cert-secret)";
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long to wait for a change, at most, before the object is read again.
pub const WATCH_TIME: Duration = Duration::from_secs(300);
/// Longest answer, and longest event, in bytes: an object has 1.5 MB at most, the limit of etcd.
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

impl ApiError {
    fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed(format!("{:#}", error.into()))
    }

    fn late() -> Self {
        Self::Failed(format!("no answer within {} s", ANSWER_TIME.as_secs()))
    }
}

/// An object as it is now, and when that was. It may be a Secret: not for a log.
pub struct Read {
    /// As JSON; none where there is no such object.
    pub object: Option<Value>,
    /// By the API server's clock, in seconds since 1970; none if it does not say.
    pub date: Option<i64>,
}

/// Where an object is.
#[derive(Debug, Clone)]
pub struct Object {
    collection: String,
    name: String,
    what: String,
}

impl Object {
    /// A Secret.
    #[must_use]
    pub fn secret(namespace: &str, name: &str) -> Self {
        let collection = format!("/api/v1/namespaces/{namespace}/secrets");
        Self { collection, name: name.to_owned(), what: format!("Secret {namespace}/{name}") }
    }

    /// A MutatingWebhookConfiguration.
    #[must_use]
    pub fn webhook_configuration(name: &str) -> Self {
        let collection = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".to_owned();
        Self { collection, name: name.to_owned(), what: format!("MutatingWebhookConfiguration {name}") }
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
        match self.ask(Method::GET, Vec::new()).await {
            Ok((object, date)) => Ok(Read { object: Some(object), date }),
            Err(ApiError::Refused { status: 404, .. }) => Ok(Read { object: None, date: None }),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, unless it was changed since it was read, and returns what it is then.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn replace(&self, object: &Value) -> Result<Value, ApiError> {
        self.ask(Method::PUT, object.to_string().into_bytes()).await.map(|(object, _)| object)
    }

    async fn ask(&self, method: Method, body: Vec<u8>) -> Result<(Value, Option<i64>), ApiError> {
        let path = format!("{}/{}", self.collection, self.name);
        let answered = async {
            let response = ask(method, &path, body).await.map_err(ApiError::failed)?;
            let date = date(&response);
            let body = accepted(response).await?;
            let object = serde_json::from_slice(&body);
            // Without the parser's words: it may quote a Secret.
            let object = object.map_err(|_| ApiError::Failed("the answer is not JSON".to_owned()))?;
            Ok((object, date))
        };
        tokio::time::timeout(ANSWER_TIME, answered).await.unwrap_or_else(|_| Err(ApiError::late()))
    }

    /// Waits until it has another version than that, [`WATCH_TIME`] at most; without one, until it is there.
    ///
    /// # Errors
    /// [`ApiError`], when nothing can be said of changes, any more.
    pub async fn changed(&self, version: Option<&str>) -> Result<(), ApiError> {
        let path = format!(
            "{}?watch=1&fieldSelector=metadata.name%3D{}&timeoutSeconds={}&resourceVersion={}",
            self.collection,
            self.name,
            WATCH_TIME.as_secs(),
            version.unwrap_or_default()
        );
        let begun = tokio::time::timeout(ANSWER_TIME, ask(Method::GET, &path, Vec::new())).await;
        let mut response = begun.map_err(|_| ApiError::late())?.map_err(ApiError::failed)?;
        if !response.status().is_success() {
            return accepted(response).await.map(drop);
        }
        let first = async {
            let mut line = Vec::new();
            while let Some(frame) = response.body_mut().frame().await {
                line.extend_from_slice(frame.map_err(ApiError::failed)?.data_ref().unwrap_or(&Bytes::new()));
                if line.contains(&b'\n') || line.len() > LONGEST {
                    break;
                }
            }
            let event = serde_json::from_slice(&line).map(|Event { r#type }| r#type).unwrap_or_default();
            match event.as_str() {
                "ADDED" | "MODIFIED" | "DELETED" => Ok(()),
                other => Err(ApiError::Failed(format!("the watch ended with {other:?}"))),
            }
        };
        tokio::time::timeout(WATCH_TIME, first).await.unwrap_or(Ok(()))
    }
}

async fn ask(method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
    Server::find(PURPOSE).await?.ask(Ask { program: PROGRAM.name, method, path, body }).await
}

/// What a line of a watch tells of.
#[derive(Deserialize)]
struct Event {
    r#type: String,
}

/// The version of an object.
pub fn version(object: &Value) -> Option<String> {
    object.get("metadata")?.get("resourceVersion")?.as_str().map(ToOwned::to_owned)
}

/// The body of a good answer.
async fn accepted(response: Answer) -> Result<Bytes, ApiError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| ApiError::Failed(error.to_string()))?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let said: Option<Value> = serde_json::from_slice(&body).ok();
    let message = said.as_ref().and_then(|status| status.get("message")).and_then(Value::as_str);
    Err(match status {
        StatusCode::CONFLICT => ApiError::Conflict,
        status => ApiError::Refused {
            status: status.as_u16(),
            message: message.map_or_else(|| format!("HTTP {status}"), ToOwned::to_owned),
        },
    })
}

/// When an answer was given, by the clock of who gave it.
fn date(response: &Answer) -> Option<i64> {
    let date = httpdate::parse_http_date(response.headers().get(header::DATE)?.to_str().ok()?).ok()?;
    i64::try_from(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
}
