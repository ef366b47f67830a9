//! What Prometheus is told. No label's values grow with anything.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use common::zpages::{self, registered, registered_seconds};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::reconcile::{Counts, Outcome};

/// Of every metric's name.
const PREFIX: &str = "apiserver_proxy_sidecar";
/// Seconds.
const CYCLE_BUCKETS: [f64; 10] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0, 5.0, 15.0];
/// Seconds.
const HEAL_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// What came of something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Result {
    /// Such as `success`.
    pub(crate) result: &'static str,
}

/// A moment, as a gauge holds it.
pub(crate) type Timestamp = Gauge<f64, AtomicU64>;

/// Sets a gauge to the seconds since 1970.
pub(crate) fn set_to_now(gauge: &Timestamp) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge.set(now.as_secs_f64());
}

type Kinds<M> = Family<Kind, M>;

/// All metrics of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    cycles: Family<Result, Counter>,
    cycle_seconds: Histogram,
    drift: Kinds<Counter>,
    heal_seconds: Histogram,
    last_success: Timestamp,
    desired: Kinds<Gauge>,
    observed: Kinds<Gauge>,
    contention: Kinds<Gauge>,
    dnat_conflicts: Gauge,
}

impl Metrics {
    /// All at nothing, but for the program's version.
    #[must_use]
    pub fn new() -> Self {
        let mut all = zpages::registry(PREFIX);
        let metrics = Self {
            cycles: registered(&mut all, "reconcile", "Cycles, by what came of them"),
            cycle_seconds: registered_seconds(
                &mut all,
                "reconcile_duration",
                "How long cycles took",
                Histogram::new(CYCLE_BUCKETS),
            ),
            drift: registered(&mut all, "drift", "Things that had been taken away, by kind"),
            heal_seconds: registered_seconds(
                &mut all,
                "heal_duration",
                "From the event that something was taken away to when it was seen back",
                Histogram::new(HEAL_BUCKETS),
            ),
            last_success: registered_seconds(
                &mut all,
                "last_success_timestamp",
                "When everything was last seen in place",
                Gauge::default(),
            ),
            desired: registered(&mut all, "desired", "Things to be in place, by kind"),
            observed: registered(&mut all, "observed", "Things seen in place, by kind"),
            contention: registered(
                &mut all,
                "contention",
                "1 while something on the node takes things of this kind away again and again",
            ),
            dnat_conflicts: registered(
                &mut all,
                "dnat_conflict",
                "Addresses that a DNAT rule of the node leads to or takes over, so that connections fail",
            ),
            registry: all,
        };
        // A counter that is not there yet can't be alerted on.
        for result in ["success", "held", "error"] {
            let _ = metrics.cycles.get_or_create(&Result { result });
        }
        for kind in KINDS {
            let _ = metrics.drift.get_or_create(&Kind { kind });
        }
        for kind in ["address", "rule"] {
            let _ = metrics.contention.get_or_create(&Kind { kind });
        }
        metrics
    }

    /// Takes note of one cycle.
    pub fn cycle(&self, outcome: &Outcome, took: Duration, desired: Counts, observed: Counts) {
        let result = match (outcome.problems.is_empty(), outcome.held) {
            (false, _) => "error",
            (true, Some(_)) => "held",
            (true, None) => "success",
        };
        self.cycles.get_or_create(&Result { result }).inc();
        self.cycle_seconds.observe(took.as_secs_f64());
        for (kind, drift) in by_kind(outcome.drift) {
            self.drift.get_or_create(&Kind { kind }).inc_by(drift.try_into().unwrap_or_default());
        }
        for (family, counts) in [(&self.desired, desired), (&self.observed, observed)] {
            for (kind, count) in by_kind(counts) {
                family.get_or_create(&Kind { kind }).set(count.try_into().unwrap_or_default());
            }
        }
    }

    /// Everything was seen in place just now.
    pub fn in_place(&self) {
        set_to_now(&self.last_success);
    }

    /// Something was back that long after the event.
    pub fn healed(&self, after: Duration) {
        self.heal_seconds.observe(after.as_secs_f64());
    }

    /// Whether somebody fights over what a part (`addresses`, `rules`) keeps.
    pub fn contended(&self, part: &str, on: bool) {
        let kind = if part == "rules" { "rule" } else { "address" };
        self.contention.get_or_create(&Kind { kind }).set(on.into());
    }

    /// How many addresses a DNAT gets in the way of.
    pub fn set_dnat_conflicts(&self, conflicts: usize) {
        self.dnat_conflicts.set(conflicts.try_into().unwrap_or(i64::MAX));
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

const KINDS: [&str; 3] = ["address", "rule", "link"];

fn by_kind(counts: Counts) -> [(&'static str, usize); 3] {
    [("address", counts.addresses), ("rule", counts.rules), ("link", counts.links)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_told() {
        let metrics = Metrics::new();
        let some = Counts { addresses: 1, rules: 5, links: 1 };
        let drift = Counts { rules: 2, ..Counts::default() };
        let outcome = Outcome { changes: some, drift, ..Outcome::default() };
        metrics.cycle(&outcome, Duration::from_millis(2), some, some);
        metrics.healed(Duration::from_millis(2));
        metrics.contended("addresses", true);
        metrics.contended("rules", false);
        metrics.in_place();
        let text = metrics.text();
        for line in [
            "apiserver_proxy_sidecar_reconcile_total{result=\"success\"} 1",
            "apiserver_proxy_sidecar_reconcile_total{result=\"error\"} 0",
            "apiserver_proxy_sidecar_reconcile_duration_seconds_count 1",
            "apiserver_proxy_sidecar_drift_total{kind=\"rule\"} 2",
            "apiserver_proxy_sidecar_drift_total{kind=\"address\"} 0",
            "apiserver_proxy_sidecar_heal_duration_seconds_bucket{le=\"0.002\"} 1",
            "apiserver_proxy_sidecar_desired{kind=\"rule\"} 5",
            "apiserver_proxy_sidecar_observed{kind=\"link\"} 1",
            "apiserver_proxy_sidecar_contention{kind=\"address\"} 1",
            "apiserver_proxy_sidecar_contention{kind=\"rule\"} 0",
            "apiserver_proxy_sidecar_dnat_conflict 0",
            "apiserver_proxy_sidecar_last_success_timestamp_seconds ",
        ] {
            assert!(text.lines().any(|there| there.starts_with(line)), "no {line} in:\n{text}");
        }
        assert!(text.contains("apiserver_proxy_sidecar_build_info{version=\"v"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
