//! What Prometheus is told. No label's values grow with anything.

use common::zpages::{self, registered, registered_seconds};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::outcome::Outcome;
use crate::metrics::{Result, Timestamp, set_to_now};

/// Of every metric's name.
const PREFIX: &str = "apiserver_proxy_node_proxy";

/// All metrics of the daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    apply: Family<Result, Counter>,
    drift: Counter,
    restart: Family<Result, Counter>,
    restart_due: Gauge,
    last_success: Timestamp,
}

impl Metrics {
    /// All at nothing, but for the program's version.
    #[must_use]
    pub fn new() -> Self {
        let mut all = zpages::registry(PREFIX);
        let metrics = Self {
            apply: registered(&mut all, "apply", "Rounds, by what came of them"),
            drift: registered(&mut all, "drift", "Drop-ins that somebody had removed or changed"),
            restart: registered(&mut all, "restart", "Restarts of units, by what came of them"),
            restart_due: registered(&mut all, "restart_due", "Units that run without their drop-in"),
            last_success: registered_seconds(
                &mut all,
                "last_success_timestamp",
                "When everything was last seen in place",
                Gauge::default(),
            ),
            registry: all,
        };
        // A counter that is not there yet can't be alerted on.
        for result in ["success", "held", "error"] {
            let _ = metrics.apply.get_or_create(&Result { result });
        }
        for result in ["success", "error"] {
            let _ = metrics.restart.get_or_create(&Result { result });
        }
        metrics
    }

    /// Takes note of one round. `fine` says that there was nothing wrong, with the configuration neither.
    pub fn round(&self, outcome: &Outcome, fine: bool) {
        let result = match (fine, outcome.held) {
            (true, _) => "success",
            (false, true) => "held",
            (false, false) => "error",
        };
        let count = |count: usize| u64::try_from(count).unwrap_or_default();
        self.apply.get_or_create(&Result { result }).inc();
        self.drift.inc_by(count(outcome.drift));
        self.restart.get_or_create(&Result { result: "success" }).inc_by(count(outcome.restarted.len()));
        self.restart
            .get_or_create(&Result { result: "error" })
            .inc_by(outcome.restart_failed.is_some().into());
        self.restart_due.set(outcome.due.len().try_into().unwrap_or(i64::MAX));
        if fine {
            set_to_now(&self.last_success);
        }
    }

    /// All of it, in the text format of OpenMetrics.
    #[must_use]
    pub fn text(&self) -> String {
        zpages::encode(&self.registry)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
