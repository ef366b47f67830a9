//! One HTTP request: from its headers to an answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{answer, env::Injection, inject, review::Review, status::Refusal};

/// Where the API server posts to: the path of the Go webhook.
pub const PATH: &str = "/webhook/pod-apiserver-env";
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What the handler needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to add.
    pub injection: Injection,
    /// Longest body, in bytes.
    pub max_request_bytes: usize,
}

/// The webhook's paths.
pub fn router(settings: Settings) -> Router {
    Router::new()
        .route(PATH, post(admit))
        .method_not_allowed_fallback(|method: Method| async move { Refusal::method(method.as_str()) })
        .fallback(|uri: Uri| async move { Refusal::not_found(uri.path()) })
        .with_state(Arc::new(settings))
}

async fn admit(State(settings): State<Arc<Settings>>, request: Request) -> Response {
    match answer(&settings, request).await {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(refusal) => {
            tracing::warn!(reason = refusal.message(), "request refused");
            refusal.into_response()
        }
    }
}

async fn answer(settings: &Settings, request: Request) -> Result<Vec<u8>, Refusal> {
    check_media_type(request.headers())?;
    let body = read(request.into_body(), settings.max_request_bytes).await?;
    review(&settings.injection, &body)
}

/// Answers one body. Pure.
///
/// # Errors
/// The refusal that the body deserves.
pub fn review(injection: &Injection, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let review = Review::parse(body).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let decision = inject::decide(&review.request, injection);
    let answer = decision.and_then(|decision| answer::encode(&review, &decision));
    answer.map_err(|error| Refusal::internal(error.to_string()))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let given = given.as_deref().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Refusal::media_type(given)) }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    // An announced length is refused before a byte is read, and before a client that asks is told to go on.
    let announced = axum::body::HttpBody::size_hint(&body).lower();
    if announced > limit as u64 {
        return Err(Refusal::too_large(limit));
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limit)),
        Ok(Err(error)) => Err(Refusal::bad_request(format!("the body broke off: {error}"))),
        Err(_) => Err(Refusal::too_slow(BODY_TIME.as_secs())),
    }
}
