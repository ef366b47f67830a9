//! One HTTP request: from its headers to an answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{answer, env::Injection, inject, review::Review, sparing::Sparing, status::Refusal};

/// Where the API server posts to: the path of the Go webhook.
pub const PATH: &str = "/webhook/pod-apiserver-env";
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long the rest of a refused body is taken in, and thrown away.
const LINGER_TIME: Duration = Duration::from_secs(2);

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
    let elsewhere = |request: Request| async {
        let refusal = Refusal::not_found(request.uri().path());
        refuse(refusal, request.into_body())
    };
    let other_method = |request: Request| async {
        let refusal = Refusal::method(request.method().as_str());
        refuse(refusal, request.into_body())
    };
    Router::new()
        .route(PATH, post(admit))
        .method_not_allowed_fallback(other_method)
        .fallback(elsewhere)
        .with_state(Arc::new(settings))
}

async fn admit(State(settings): State<Arc<Settings>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    if let Err(refusal) = check_media_type(&head.headers) {
        return refuse(refusal, body);
    }
    let bytes = match read(&mut body, settings.max_request_bytes).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refuse(refusal, body),
    };
    match review(&settings.injection, &bytes) {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(refusal) => refuse(refusal, body),
    }
}

/// Answers with a refusal, and lets the rest of the body come in for a moment. A connection that is closed with
/// something unread is reset, and a reset overtakes the answer.
fn refuse(refusal: Refusal, mut body: Body) -> Response {
    static LINES: Sparing = Sparing::new();
    if let Some(left_out) = LINES.turn() {
        tracing::warn!(reason = refusal.message(), left_out, "request refused");
    }
    if !body.is_end_stream() {
        tokio::spawn(async move {
            let rest = async { while let Some(Ok(_)) = body.frame().await {} };
            // Whoever is still sending then has had time to read the answer.
            let _ = tokio::time::timeout(LINGER_TIME, rest).await;
        });
    }
    refusal.into_response()
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

async fn read(body: &mut Body, limit: usize) -> Result<Bytes, Refusal> {
    // An announced length is refused before a byte is read, and before a client that asks is told to go on.
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::too_large(limit));
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limit)),
        Ok(Err(error)) => Err(Refusal::bad_request(format!("the body broke off: {error}"))),
        Err(_) => Err(Refusal::too_slow(BODY_TIME.as_secs())),
    }
}
