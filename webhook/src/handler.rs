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
    answer::{self, Rest},
    egress::Egress,
    env::Injection,
    inject::{self, Decision},
    metrics::{Labels, Metrics, Operation, Outcome},
    overload::{
        Gate, Patience, TimeIsUp,
        body::{self, Early, Step},
        sending,
    },
    patched,
    review::Review,
    status::Refusal,
};

/// Where the API server posts to: the path of the Go webhook.
pub const PATH: &str = "/webhook/pod-apiserver-env";
/// How long the rest of a refused body is taken in, and thrown away.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What the handler needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to add.
    pub egress: Arc<Egress>,
    /// What requests wait for.
    pub gate: Arc<Gate>,
    /// What they are counted in.
    pub metrics: Arc<Metrics>,
}

/// Who asks, for the log; put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The webhook's paths.
pub fn router(settings: Settings) -> Router {
    let settings = Arc::new(settings);
    let limit = settings.gate.limits().request_bytes;
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
    let patience = Patience::of(request.uri().query());
    let answer = match check_media_type(request.headers()) {
        Ok(()) => answer(&settings, request.body_mut(), patience, &mut observed.labels).await,
        Err(refusal) => Err(refusal),
    };
    match answer {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(refusal) => {
            observed.labels.outcome = Outcome::of_refusal(refusal.code());
            refuse(refusal, request, settings.gate.limits().request_bytes)
        }
    }
}

/// Waits for a slot, reads a body as there is memory for it, and answers it.
async fn answer(
    settings: &Settings,
    body: &mut Body,
    patience: Patience,
    labels: &mut Labels,
) -> Result<Body, Refusal> {
    let Settings { egress, gate, .. } = settings;
    let limits = gate.limits();
    // An announced length is refused before a byte is read, and before a client that asks is told to go on.
    let announced = body.size_hint();
    if announced.lower() > limits.request_bytes as u64 {
        return Err(Refusal::too_large(limits.request_bytes));
    }
    let length = announced.exact().and_then(|length| usize::try_from(length).ok());
    let mut step = Step::Slot;
    let work = async {
        let mut early = Early::default();
        let slot = early.while_waiting(gate.slot(), body, length).await?;
        let (bytes, share) =
            body::read(gate.memory(), body, early, length.unwrap_or(limits.request_bytes), &mut step).await?;
        let answer = examine(&egress.injection(), &bytes, labels)?;
        drop((bytes, share));
        Ok(match answer {
            (answer, None) => answer.into(),
            (begun, Some(rest)) => sending::send(begun, rest, slot),
        })
    };
    let done = patience.limit(work).await;
    done.unwrap_or_else(|TimeIsUp(time)| {
        Err(match step {
            Step::Slot => Refusal::no_slot(time, limits.in_flight),
            Step::Memory => Refusal::no_memory(time, limits.buffered_bytes),
            Step::Body => Refusal::too_slow(time),
        })
    })
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
    let (mut answer, mut rest) = examine(injection, body, &mut Labels::default())?;
    while rest.as_mut().is_some_and(|rest| rest.write(&mut answer)) {}
    Ok(answer.into_bytes())
}

/// The beginning of [`review`]'s answer, what is left of it, and what to count it as, refusals aside; a patched Pod is
/// told.
fn examine(
    injection: &Injection,
    body: &[u8],
    labels: &mut Labels,
) -> Result<(String, Option<Rest>), Refusal> {
    let review = Review::parse(body).map_err(|error| Refusal::bad_request(error.to_string()))?;
    labels.operation = Operation::from_name(review.request.operation.as_deref());
    let decision = inject::decide(&review.request, injection, body);
    labels.outcome = Outcome::of_decision(&decision);
    if let Decision::Patch(changes) = &decision {
        patched::tell(&review, changes, body);
    }
    answer::begin(&review, decision, injection).map_err(|error| Refusal::internal(error.to_string()))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let given = given.as_deref().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Refusal::media_type(given)) }
}
