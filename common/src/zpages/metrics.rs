//! `/metrics`.

use prometheus_client::{
    encoding::text,
    metrics::info::Info,
    registry::{Metric, Registry, Unit},
};

use crate::version::{RELEASE, commit};

/// The form that [`encode`] gives.
///
/// Source: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry whose metrics' names all start with `prefix` and `_`, with `build_info` in it (labels `version` and,
/// where the build knew it, `revision`). The encoder adds the `_total` of counters and the `_info` of such as this
/// one: register them without.
#[must_use]
pub fn registry(prefix: &str) -> Registry {
    let mut registry = Registry::with_prefix(prefix);
    let revision = commit().map(|commit| ("revision", commit));
    let labels: Vec<(&str, &str)> = [("version", RELEASE)].into_iter().chain(revision).collect();
    registry.register("build", "What this program was built from", Info::new(labels));
    registry
}

/// Registers a metric at nothing, and gives it to whoever writes to it.
pub fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// The same for one in seconds, which its name will say.
pub fn registered_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, at: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, at.clone());
    at
}

/// All metrics of a registry as OpenMetrics text.
#[must_use]
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    // Only a metric of one's own making can fail. The text then lacks its end, `# EOF`, and no scraper takes it.
    if let Err(error) = text::encode(&mut text, registry) {
        tracing::error!(%error, "a metric cannot be encoded");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn names_are_prometheus() {
        let mut registry = registry("apiserver_proxy_test");
        let counter: Counter = registered(&mut registry, "requests", "Requests");
        counter.inc();
        let text = encode(&registry);
        assert!(text.contains("\napiserver_proxy_test_requests_total 1\n"), "{text}");
        let build_info = format!("\napiserver_proxy_test_build_info{{version=\"{RELEASE}\"");
        assert!(text.contains(&build_info) && text.ends_with("# EOF\n"), "{text}");
    }
}
