//! What Prometheus is told. No label's values grow with anything.

use common::zpages;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
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
        let mut registry = zpages::registry(PREFIX);
        let metrics = Self {
            apply: Family::default(),
            drift: Counter::default(),
            restart: Family::default(),
            restart_due: Gauge::default(),
            last_success: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("apply", "Rounds, by what came of them", metrics.apply.clone());
        registry.register("drift", "Drop-ins that somebody had removed or changed", metrics.drift.clone());
        registry.register("restart", "Restarts of units, by what came of them", metrics.restart.clone());
        registry.register("restart_due", "Units that run without their drop-in", metrics.restart_due.clone());
        registry.register_with_unit(
            "last_success_timestamp",
            "When everything was last seen in place",
            Unit::Seconds,
            metrics.last_success.clone(),
        );
        // A counter that is not there yet can't be alerted on.
        for result in ["success", "held", "error"] {
            let _ = metrics.apply.get_or_create(&Result { result });
        }
        for result in ["success", "error"] {
            let _ = metrics.restart.get_or_create(&Result { result });
        }
        Self { registry, ..metrics }
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
