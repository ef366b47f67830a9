//! Refusals, in the API's own words: a `Status` of meta/v1.
//!
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>.

use std::{net::SocketAddr, time::Duration};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{duration::GoDuration, sparing::Sparing};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::{json::brief, overload::memory::PIECE_TIME};

/// A refused HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
    close: bool,
    /// Nothing that an operator has to know of.
    common: bool,
    shed: bool,
}

impl Refusal {
    /// 400: the body is not what it should be.
    #[must_use]
    pub fn bad_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 400: the client went away in the middle.
    #[must_use]
    pub fn broken_off(error: &axum::Error) -> Self {
        Self { common: true, ..Self::bad_request(format!("the body broke off: {error}")) }
    }

    /// 404: no such path.
    #[must_use]
    pub fn not_found(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("there is nothing at {:?}", brief(path)))
    }

    /// 405: the path takes something else.
    #[must_use]
    pub fn method(method: &str) -> Self {
        let message = format!("{:?} is not what this path takes; use POST", brief(method));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 503: no slot came free in the client's time.
    #[must_use]
    pub fn no_slot(time: Duration, slots: usize) -> Self {
        Self::overloaded(&format!(
            "all {slots} slots stayed taken for the {} that there were; raise --max-in-flight, or add replicas",
            GoDuration(time)
        ))
    }

    /// 503: there was no room for the body in the client's time.
    #[must_use]
    pub fn no_memory(time: Duration, bytes: usize) -> Self {
        Self::overloaded(&format!(
            "the {bytes} bytes for all bodies stayed taken for the {} that there were; raise --max-buffered-bytes, \
             and the memory limit with it, or add replicas",
            GoDuration(time)
        ))
    }

    fn overloaded(why: &str) -> Self {
        let message = format!("the webhook is overloaded: {why}");
        Self { shed: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message) }
    }

    /// 503: the body came too slowly to be answered in the client's time. The connection ends.
    #[must_use]
    pub fn too_slow(time: Duration) -> Self {
        let message = format!(
            "the body did not arrive within the {} that there were; look at the network, or raise the webhook's \
             timeoutSeconds",
            GoDuration(time)
        );
        Self { close: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "Timeout", message) }
    }

    /// 408: the body came too slowly while others waited for its memory. The connection ends.
    #[must_use]
    pub fn dawdled() -> Self {
        let message = format!(
            "the body stopped, or came slower than {PIECE_TIME:?} a MiB, while others waited for its memory; look at \
             the network, or raise --max-buffered-bytes"
        );
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message) }
    }

    /// 413: the body is too long. The connection ends, so that the rest need not be read.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body is longer than {limit} bytes (--max-request-bytes)");
        Self { close: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message) }
    }

    /// 415: not JSON.
    #[must_use]
    pub fn media_type(given: &str) -> Self {
        let message = format!("the content type is {:?}; send application/json", brief(given));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 500: a fault of our own.
    #[must_use]
    pub fn internal(message: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    fn new(code: StatusCode, reason: &'static str, message: String) -> Self {
        Self { code, reason, message, close: false, common: false, shed: false }
    }

    /// The HTTP status.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        self.code
    }

    /// What the client is told.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Writes it to the log. Anybody who reaches the port can cause refusals, so there is one line a second at
    /// most, for those of the API server's own path apart from the others, and for overload apart from both. A fault
    /// of our own is always told.
    pub fn tell(&self, peer: Option<SocketAddr>) {
        static WRONG_DOOR: Sparing = Sparing::new();
        static BAD_REQUEST: Sparing = Sparing::new();
        static OVERLOAD: Sparing = Sparing::new();
        let (reason, peer) = (self.message(), peer.map(tracing::field::display));
        let lines = match self.code {
            _ if self.common => return tracing::debug!(peer, reason, "request refused"),
            StatusCode::INTERNAL_SERVER_ERROR => return tracing::error!(peer, reason, "request failed"),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => &WRONG_DOOR,
            _ if self.shed => &OVERLOAD,
            _ => &BAD_REQUEST,
        };
        if let Some(left_out) = lines.turn() {
            tracing::warn!(peer, reason, left_out, "request refused");
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = Status {
            code: Some(self.code.as_u16().into()),
            status: Some("Failure".to_owned()),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message),
            ..Status::default()
        };
        let body = serde_json::to_vec(&status).unwrap_or_default();
        let mut response = (self.code, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self.close {
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        response
    }
}
