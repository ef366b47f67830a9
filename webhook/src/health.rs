//! What the health port tells: see [`common::zpages`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::Router;
use common::zpages::{self, Check, Flagz, Subject};

use crate::{certificates::Certificates, cli::PROGRAM, egress::Egress, metrics::Metrics};

/// What the health port is answered from.
#[derive(Debug)]
pub struct Health {
    serving: AtomicBool,
    certificates: Arc<Certificates>,
    egress: Arc<Egress>,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready yet.
    #[must_use]
    pub fn new(certificates: Arc<Certificates>, egress: Arc<Egress>, metrics: Arc<Metrics>) -> Self {
        Self { serving: AtomicBool::new(false), certificates, egress, metrics }
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
}

impl Subject for Health {
    /// What could not be replaced is told and does not make the server unready: the last good one works.
    fn checks(&self) -> Vec<Check> {
        let serving = match self.is_serving() {
            true => Check::ok("serving", ""),
            false => Check::failed("serving", "starting or shutting down"),
        };
        let (identity, problem) = self.certificates.describe();
        let certificate = match (identity, problem) {
            (Some(identity), None) => Check::ok("certificate", identity.to_string()),
            (Some(identity), Some(problem)) => Check::note("certificate", format!("{identity}; {problem}")),
            (None, problem) => Check::failed("certificate", none_yet(problem)),
        };
        let egress = self.egress.describe().map(|(summary, problem)| match problem {
            None => Check::ok("egress-config", summary),
            Some(problem) => Check::note("egress-config", format!("{summary}; {problem}")),
        });
        [serving, certificate].into_iter().chain(egress).collect()
    }

    fn metrics(&self) -> String {
        self.metrics.text(self.certificates.seconds_left())
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let (identity, _) = self.certificates.describe();
        let certificate = identity.map_or_else(|| none_yet(None), |identity| identity.to_string());
        let egress = self.egress.describe().map(|(summary, _)| ("Egress", summary));
        std::iter::once(("Certificate", certificate)).chain(egress).collect()
    }
}

fn none_yet(problem: Option<String>) -> String {
    problem.map_or_else(|| "none yet".to_owned(), |problem| format!("none yet: {problem}"))
}

/// The paths of the health port.
pub fn router(health: Arc<Health>, flagz: &Flagz) -> Router {
    zpages::router(PROGRAM.name, flagz, health)
}
