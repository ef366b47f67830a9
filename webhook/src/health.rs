//! `/livez` and `/readyz`, in the manner of Kubernetes' own components.
//!
//! Source: <https://kubernetes.io/docs/reference/using-api/health-checks/>.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::certificates::Certificates;

/// What the probes are answered from.
#[derive(Debug)]
pub struct Health {
    serving: AtomicBool,
    certificates: Arc<Certificates>,
}

impl Health {
    /// Not ready yet.
    #[must_use]
    pub fn new(certificates: Arc<Certificates>) -> Self {
        Self { serving: AtomicBool::new(false), certificates }
    }

    /// Ready from now on, or not any more.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    /// Whether new requests are welcome.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// All checks, one a line, and whether the server is ready. A certificate that could not be replaced is
    /// told here and does not make it unready: the last good one works.
    fn report(&self) -> (bool, String) {
        let ready = self.is_serving();
        let serving = if ready { "[+]serving ok" } else { "[-]serving failed: starting or shutting down" };
        let (identity, problem) = self.certificates.describe();
        let certificate = match problem {
            None => format!("[+]certificate ok: {identity}"),
            Some(problem) => format!("[!]certificate: {identity}; {problem}"),
        };
        let verdict = if ready { "readyz check passed" } else { "readyz check failed" };
        (ready, format!("{serving}\n{certificate}\n{verdict}\n"))
    }
}

/// The paths of the health port.
pub fn router(health: Arc<Health>) -> Router {
    Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(readyz)).with_state(health)
}

#[derive(serde::Deserialize)]
struct Detail {
    verbose: Option<String>,
}

async fn readyz(State(health): State<Arc<Health>>, Query(detail): Query<Detail>) -> Response {
    match (health.report(), detail.verbose) {
        ((true, _), None) => "ok".into_response(),
        ((true, report), Some(_)) => report.into_response(),
        ((false, report), _) => (StatusCode::SERVICE_UNAVAILABLE, report).into_response(),
    }
}
