//! What Prometheus is told: the sum of what the threads count, made when it is asked for. No label's values grow with
//! anything but the endpoints, and the statuses that HTTP has.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::{Arc, atomic::Ordering},
};

use common::{histogram::Seen, zpages};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{
    connect::Reason,
    counters::{Counters, Outcome},
    shared::Shared,
};

/// What all metrics' names start with.
const PREFIX: &str = "apiserver_proxy";
/// The label's values for bytes, as they are counted.
const DIRECTIONS: [&str; 2] = ["from_client", "to_client"];

/// All metrics of what the threads share.
#[must_use]
pub fn registry(shared: Arc<Shared>) -> Registry {
    let mut registry = zpages::registry(PREFIX);
    registry.register_collector(Box::new(Metrics(shared)));
    registry
}

#[derive(Debug)]
struct Metrics(Arc<Shared>);

impl Metrics {
    fn each(&self) -> impl Iterator<Item = &Counters> {
        self.0.desks.iter().map(|desk| &desk.counters)
    }

    fn sum(&self, count: impl Fn(&Counters) -> u64) -> u64 {
        self.each().map(count).sum()
    }

    fn durations(&self, of: impl Fn(&Counters) -> Seen) -> Option<Seen> {
        self.each().map(of).reduce(|all, one| all.and(&one))
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shared = &self.0;
        let ends = Outcome::ALL.map(|outcome| (outcome.name(), self.sum(|counters| counters.count(outcome))));
        counters(&mut encoder, "connections", "Connections that have ended, by how", "result", ends)?;
        let open = i64::try_from(shared.open()).unwrap_or(i64::MAX);
        gauge(&mut encoder, "connections_open", "Connections that are open", open)?;
        let bytes = [0, 1].map(|index| {
            let of = |counters: &Counters| {
                counters.bytes.get(index).map_or(0, |bytes| bytes.load(Ordering::Relaxed))
            };
            (DIRECTIONS.get(index).copied().unwrap_or_default(), self.sum(of))
        });
        counters(&mut encoder, "bytes", "Bytes that were moved", "direction", bytes)?;
        let errors =
            Reason::ALL.map(|reason| (reason.name(), self.sum(|counters| counters.failures(reason))));
        let help = "Connects to endpoints that failed, by why";
        counters(&mut encoder, "upstream_connect_errors", help, "reason", errors)?;
        let mut refusals = BTreeMap::<u16, u64>::new();
        for (status, count) in self.each().flat_map(Counters::refusals) {
            *refusals.entry(status).or_default() += count;
        }
        let refusals = refusals.into_iter().map(|(status, count)| (status.to_string(), count));
        let help = "Answers to CONNECT other than 2xx, by status";
        counters(&mut encoder, "upstream_connect_refused", help, "status", refusals)?;
        let healthy = |healthy: bool| ConstGauge::new(i64::from(healthy));
        let endpoints = shared.endpoints.load();
        let endpoints = endpoints.all().iter();
        let endpoints = endpoints.map(|one| (one.address.to_string(), healthy(one.is_healthy())));
        let help = "1 if the endpoint is healthy, else 0";
        family(&mut encoder, "upstream_healthy", help, MetricType::Gauge, "endpoint", endpoints)?;
        let paused = ConstCounter::new(shared.paused.load(Ordering::Relaxed));
        let help = "How often accepting had to wait for connections to end, for --max-connections";
        paused.encode(encoder.encode_descriptor("accept_paused", help, None, MetricType::Counter)?)?;
        for (name, help, seen) in [
            (
                "connection_duration",
                "From a connection's acceptance to its end",
                self.durations(|counters| counters.lasted.seen()),
            ),
            (
                "upstream_connect_duration",
                "Until an endpoint was reached for a connection",
                self.durations(|counters| counters.reached.seen()),
            ),
        ] {
            if let Some(seen) = seen {
                let unit = Some(&Unit::Seconds);
                seen.encode(encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?)?;
            }
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counters<S: AsRef<str>>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (S, u64)>,
) -> fmt::Result {
    let values = values.into_iter().map(|(value, count)| (value, ConstCounter::new(count)));
    family(encoder, name, help, MetricType::Counter, label, values)
}

/// One metric with one label.
fn family<S: AsRef<str>, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    label: &str,
    values: impl IntoIterator<Item = (S, M)>,
) -> fmt::Result {
    let mut family: MetricEncoder<'_> = encoder.encode_descriptor(name, help, None, kind)?;
    for (value, metric) in values {
        metric.encode(family.encode_family(&[(label, value.as_ref())])?)?;
    }
    Ok(())
}
