//! What Prometheus is told. No label's values grow with anything.
//!
//! A request costs two looks at the clock and a few atomic additions: its counter is found by index, not by hashing
//! labels, and nothing on its way takes a lock.

mod labels;

use std::time::{Duration, Instant};

use common::{
    histogram::Histogram,
    zpages::{self, registered, registered_seconds},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub use self::labels::{Labels, Operation, Outcome};

/// What all metrics' names start with.
const PREFIX: &str = "apiserver_proxy_pod_webhook";

/// Upper bounds of a request's duration, in seconds.
const DURATIONS: [f64; 19] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

/// All metrics of the webhook.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    /// Of `requests`, those that can occur, where they can be found without looking: a row an operation.
    counters: [[Option<Counter>; Outcome::ALL.len()]; Operation::ALL.len()],
    duration: Histogram<{ DURATIONS.len() }>,
    in_flight: Gauge,
    expiry: Gauge,
    certificates: Reloads,
    egress: Reloads,
}

/// New contents of files, by whether they came into use.
#[derive(Debug)]
struct Reloads {
    succeeded: Counter,
    failed: Counter,
}

impl Reloads {
    fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let family = Family::<ReloadLabels, Counter>::default();
        registry.register(name, help, family.clone());
        Self {
            succeeded: family.get_or_create_owned(&ReloadLabels { result: "success" }),
            failed: family.get_or_create_owned(&ReloadLabels { result: "failure" }),
        }
    }

    fn count(&self, success: bool) {
        if success {
            self.succeeded.inc()
        } else {
            self.failed.inc()
        };
    }
}

impl Metrics {
    /// All at nothing, but for the program's version.
    #[must_use]
    pub fn new() -> Self {
        let mut all = zpages::registry(PREFIX);
        // A counter that is not there yet can't be alerted on.
        let requests = Family::<Labels, Counter>::default();
        let counters = Operation::ALL.map(|operation| {
            Outcome::ALL.map(|outcome| {
                let labels = Labels { operation, outcome };
                labels.can_occur().then(|| requests.get_or_create_owned(&labels))
            })
        });
        all.register(
            "requests",
            "Requests, by what the API server is about to do and what came of them",
            requests.clone(),
        );
        let certificates = Reloads::register(
            &mut all,
            "certificate_reload",
            "New certificates, by whether they came into use",
        );
        let egress = Reloads::register(
            &mut all,
            "egress_config_reload",
            "New contents of --egress-config, by whether they came into use",
        );
        Self {
            duration: registered_seconds(
                &mut all,
                "request_duration",
                "From a request's headers to its answer, the arrival of its body included",
                Histogram::new(DURATIONS),
            ),
            in_flight: registered(&mut all, "in_flight", "Requests that have no answer yet"),
            expiry: registered_seconds(
                &mut all,
                "certificate_expiry",
                "Until the certificate in use expires; negative since it has",
                Gauge::default(),
            ),
            counters,
            certificates,
            egress,
            requests,
            registry: all,
        }
    }

    /// A request whose headers are there.
    pub fn begin(&self) -> Observed<'_> {
        self.in_flight.inc();
        Observed { metrics: self, begun: Instant::now(), labels: Labels::default() }
    }

    /// New certificate files, in use from now on or not.
    pub fn certificate_reloaded(&self, success: bool) {
        self.certificates.count(success);
    }

    /// New contents of `--egress-config`, in use from now on or not.
    pub fn egress_reloaded(&self, success: bool) {
        self.egress.count(success);
    }

    fn finish(&self, labels: Labels, took: Duration) {
        let row = self.counters.get(labels.operation as usize);
        match row.and_then(|row| row.get(labels.outcome as usize)).and_then(Option::as_ref) {
            Some(counter) => counter.inc(),
            None => self.requests.get_or_create(&labels).inc(),
        };
        self.duration.observe(took);
        self.in_flight.dec();
    }

    /// All of it, in the text format of OpenMetrics. The certificate has that many seconds left.
    #[must_use]
    pub fn text(&self, certificate_seconds: i64) -> String {
        self.expiry.set(certificate_seconds);
        zpages::encode(&self.registry)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that is in flight until this is dropped, and then counted by what its labels say. Unless they are set,
/// that is an `invalid` one of an unknown operation: a client that left in the middle of its request.
#[derive(Debug)]
#[must_use]
pub struct Observed<'a> {
    metrics: &'a Metrics,
    begun: Instant,
    /// What it will be counted as.
    pub labels: Labels,
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        self.metrics.finish(self.labels, self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|there| there == format!("apiserver_proxy_pod_webhook_{line}"))
    }

    #[test]
    fn everything_is_there_from_the_start() {
        let text = Metrics::new().text(3600);
        for operation in Operation::ALL {
            for outcome in Outcome::ALL {
                let labels = Labels { operation, outcome };
                let line = format!(
                    "requests_total{{operation=\"{}\",outcome=\"{}\"}} 0",
                    operation.name(),
                    outcome.name()
                );
                assert_eq!(has(&text, &line), labels.can_occur(), "{line} in:\n{text}");
            }
        }
        for line in [
            "request_duration_seconds_count 0",
            "request_duration_seconds_bucket{le=\"0.00001\"} 0",
            "request_duration_seconds_bucket{le=\"10.0\"} 0",
            "request_duration_seconds_bucket{le=\"+Inf\"} 0",
            "in_flight 0",
            "certificate_expiry_seconds 3600",
            "certificate_reload_total{result=\"success\"} 0",
            "certificate_reload_total{result=\"failure\"} 0",
            "egress_config_reload_total{result=\"success\"} 0",
            "egress_config_reload_total{result=\"failure\"} 0",
        ] {
            assert!(has(&text, line), "no {line} in:\n{text}");
        }
        assert!(text.contains("\napiserver_proxy_pod_webhook_build_info{version=\"v"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_dropped() {
        let metrics = Metrics::new();
        let (mut one, other) = (metrics.begin(), metrics.begin());
        assert!(has(&metrics.text(0), "in_flight 2"));
        one.labels = Labels { operation: Operation::Create, outcome: Outcome::Patched };
        drop(one);
        drop(other);
        let text = metrics.text(-5);
        for line in [
            "in_flight 0",
            "requests_total{operation=\"CREATE\",outcome=\"patched\"} 1",
            "requests_total{operation=\"other\",outcome=\"invalid\"} 1",
            "request_duration_seconds_count 2",
            "certificate_expiry_seconds -5",
        ] {
            assert!(has(&text, line), "no {line} in:\n{text}");
        }
    }

    #[test]
    fn what_was_not_expected_is_counted_all_the_same() {
        let metrics = Metrics::new();
        let labels = Labels { operation: Operation::Delete, outcome: Outcome::Shed };
        assert!(!labels.can_occur());
        metrics.begin().labels = labels;
        assert!(has(&metrics.text(0), "requests_total{operation=\"DELETE\",outcome=\"shed\"} 1"));
    }
}
