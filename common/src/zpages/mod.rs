//! The pages that every component of Kubernetes has, on one plain-HTTP listener.
//!
//! | path | what it says |
//! |---|---|
//! | `/livez` | `ok`, as long as anything is answered |
//! | `/readyz` | `ok`, or 503 and all checks; `?verbose` has all checks either way |
//! | `/metrics` | the metrics, as OpenMetrics text |
//! | `/statusz` | version, start, paths, and what the program adds |
//! | `/flagz` | all flags with their values |
//!
//! A program implements [`Subject`], makes a [`router`] of it, and serves that with [`serve_tcp`] or
//! [`serve_unix`]; [`exec_probe`] asks the latter. The pages have no authentication: they tell nothing
//! secret, and nothing can be changed through them.
//!
//! Sources: <https://kubernetes.io/docs/reference/using-api/health-checks/>,
//! <https://kubernetes.io/docs/reference/instrumentation/zpages/> (KEP-4827 statusz, KEP-4828 flagz; of their forms
//! only the plain text), <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

mod connection;
mod exec;
mod flagz;
mod metrics;
mod probe;
mod readyz;
mod serve;
mod statusz;
mod unix;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

pub use self::{
    exec::{PROBE, exec_probe},
    flagz::Flagz,
    metrics::{encode, registered, registered_seconds, registry},
    probe::{Page, ProbeError, probe},
    readyz::{Check, Outcome},
    serve::{serve_tcp, serve_unix},
    unix::{SocketError, place},
};
use self::{readyz::report, statusz::Statusz};

/// In the order of `/statusz`, which is the alphabet's.
const PATHS: [&str; 5] = ["/flagz", "/livez", "/metrics", "/readyz", "/statusz"];

/// What a program tells of itself. Called for each request, on the runtime's thread: must not block.
pub trait Subject: Send + Sync + 'static {
    /// What readiness depends on, in the order in which it is to be printed.
    fn checks(&self) -> Vec<Check>;

    /// All metrics as OpenMetrics text, as [`encode`] gives it.
    fn metrics(&self) -> String;

    /// Further lines for `/statusz`: name and value.
    fn status(&self) -> Vec<(&'static str, String)>;

    /// The flags as they are now, where they change while the program runs.
    fn flagz(&self) -> Option<Flagz> {
        None
    }
}

struct Pages {
    subject: Arc<dyn Subject>,
    name: String,
    statusz: Statusz,
    flagz: Flagz,
}

/// The pages of the program `name`. It counts as started when this is called.
pub fn router(name: &str, flagz: &Flagz, subject: Arc<dyn Subject>) -> Router {
    let pages = Pages { subject, name: name.to_owned(), statusz: Statusz::new(name), flagz: flagz.clone() };
    let [flagz, livez, metrics, readyz, statusz] = PATHS;
    Router::new()
        .route(flagz, get(self::flagz))
        .route(livez, get(async |query: RawQuery| page(StatusCode::OK, self::livez(is_verbose(&query)))))
        .route(metrics, get(self::metrics))
        .route(readyz, get(self::readyz))
        .route(statusz, get(self::statusz))
        .with_state(Arc::new(pages))
}

fn livez(verbose: bool) -> &'static str {
    if verbose { "[+]ping ok\nlivez check passed\n" } else { "ok" }
}

async fn flagz(State(pages): State<Arc<Pages>>) -> Response {
    let flagz = pages.subject.flagz();
    page(StatusCode::OK, flagz.as_ref().unwrap_or(&pages.flagz).render(&pages.name))
}

async fn readyz(State(pages): State<Arc<Pages>>, query: RawQuery) -> Response {
    match report(&pages.subject.checks()) {
        (true, _) if !is_verbose(&query) => page(StatusCode::OK, "ok"),
        (true, report) => page(StatusCode::OK, report),
        (false, report) => page(StatusCode::SERVICE_UNAVAILABLE, report),
    }
}

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
    ([(header::CONTENT_TYPE, content_type)], page(StatusCode::OK, pages.subject.metrics())).into_response()
}

async fn statusz(State(pages): State<Arc<Pages>>) -> Response {
    page(StatusCode::OK, pages.statusz.render(&pages.subject.status()))
}

/// A text that no browser takes for anything else, and that nobody keeps.
fn page(status: StatusCode, text: impl IntoResponse) -> Response {
    const HEADERS: [(HeaderName, &str); 2] =
        [(header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::CACHE_CONTROL, "no-cache, private")];
    (status, HEADERS, text).into_response()
}

/// `?verbose`, with a value or without, as Go's `net/url` reads it.
fn is_verbose(RawQuery(query): &RawQuery) -> bool {
    let mut pairs = query.iter().flat_map(|query| query.split('&'));
    pairs.any(|pair| pair.split('=').next() == Some("verbose"))
}
