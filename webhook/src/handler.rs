//! One HTTP request: from its headers to an answer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::{BodyExt, Limited};

use crate::{
    answer,
    env::Injection,
    inject::{self, Decision},
    metrics::{Labels, Metrics, Operation, Outcome},
    patched,
    review::Review,
    status::Refusal,
};

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
    /// What requests are counted in.
    pub metrics: Arc<Metrics>,
}

/// Who asks, for the log; put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The webhook's paths.
pub fn router(settings: Settings) -> Router {
    let settings = Arc::new(settings);
    let limit = settings.max_request_bytes;
    // Counted as `invalid`, as everything is that nothing else is said of.
    let metrics = Arc::clone(&settings.metrics);
    let elsewhere = move |request: Request| async move {
        drop(metrics.begin());
        let refusal = Refusal::not_found(request.uri().path());
        refuse(refusal, request, limit)
    };
    let metrics = Arc::clone(&settings.metrics);
    let other_method = move |request: Request| async move {
        drop(metrics.begin());
        let refusal = Refusal::method(request.method().as_str());
        refuse(refusal, request, limit)
    };
    Router::new()
        .route(PATH, post(admit))
        .method_not_allowed_fallback(other_method)
        .fallback(elsewhere)
        .with_state(settings)
}

async fn admit(State(settings): State<Arc<Settings>>, mut request: Request) -> Response {
    let mut observed = settings.metrics.begin();
    let answer = match check_media_type(request.headers()) {
        Ok(()) => read(request.body_mut(), settings.max_request_bytes).await,
        Err(refusal) => Err(refusal),
    };
    match answer.and_then(|body| examine(&settings.injection, &body, &mut observed.labels)) {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(refusal) => {
            observed.labels.outcome = Outcome::of_refusal(refusal.code());
            refuse(refusal, request, settings.max_request_bytes)
        }
    }
}

/// Answers with a refusal, and lets the rest of the body come in for a moment, up to `limit` bytes. A connection
/// that is closed with something unread is reset, and a reset overtakes the answer.
fn refuse(refusal: Refusal, request: Request, limit: usize) -> Response {
    refusal.tell(request.extensions().get().map(|Peer(peer)| *peer));
    let body = request.into_body();
    if !body.is_end_stream() {
        tokio::spawn(async move {
            let mut rest = Limited::new(body, limit);
            let rest = async { while let Some(Ok(_)) = rest.frame().await {} };
            // Whoever is still sending then has had time to read the answer.
            let _ = tokio::time::timeout(LINGER_TIME, rest).await;
        });
    }
    refusal.into_response()
}

/// Answers one body. Pure, but for the log.
///
/// # Errors
/// The refusal that the body deserves.
pub fn review(injection: &Injection, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    examine(injection, body, &mut Labels::default())
}

/// [`review`], and what to count it as, refusals aside; a patched Pod is told.
fn examine(injection: &Injection, body: &[u8], labels: &mut Labels) -> Result<Vec<u8>, Refusal> {
    let internal = |error: serde_json::Error| Refusal::internal(error.to_string());
    let review = Review::parse(body).map_err(|error| Refusal::bad_request(error.to_string()))?;
    labels.operation = Operation::from_name(review.request.operation.as_deref());
    let decision = inject::decide(&review.request, injection).map_err(internal)?;
    labels.outcome = Outcome::of_decision(&decision);
    let answer = answer::encode(&review, &decision).map_err(internal)?;
    if let Decision::Patch(patch) = &decision {
        patched::tell(&review, patch, body);
    }
    Ok(answer)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let given = given.as_deref().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Refusal::media_type(given)) }
}

async fn read(body: &mut Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    // An announced length is refused before a byte is read, and before a client that asks is told to go on.
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(Refusal::too_large(limit));
    }
    let all = async {
        // Copied out of its frames: a frame of one byte would keep a whole read buffer.
        let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or_default());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::broken_off(&error))?;
            let data = frame.data_ref().map(|data| data.as_ref()).unwrap_or_default();
            if data.len() > limit - bytes.len() {
                return Err(Refusal::too_large(limit));
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_TIME, all).await.unwrap_or_else(|_| Err(Refusal::too_slow(BODY_TIME.as_secs())))
}
