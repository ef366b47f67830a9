//! A histogram of durations that takes no lock.
//!
//! That of prometheus-client is behind a mutex, which all threads would meet at for each request.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds, in seconds.
const BOUNDS: [f64; 19] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How often durations of which length were seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    /// One for each of [`BOUNDS`], each without those below.
    buckets: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
    /// Enough for five hundred years of requests.
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Takes note of one. A scrape at the same time may find it in the buckets and not in the sum yet.
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let cells = BOUNDS.iter().zip(&self.0.buckets);
        let bucket = cells.into_iter().find(|(bound, _)| seconds <= **bound).map(|(_, bucket)| bucket);
        bucket.unwrap_or(&self.0.longer).fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let sum = Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().chain([&self.0.longer]).map(|cell| cell.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // Counted from the buckets, so that it is never another number than the last of them.
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::{encoding::text, registry::Registry};

    #[test]
    fn each_duration_is_in_its_bucket_and_all_above() {
        let histogram = Histogram::default();
        for nanoseconds in [0, 10_000, 10_001, 1_000_000_000, 10_000_000_000, 10_000_000_001] {
            histogram.observe(Duration::from_nanos(nanoseconds));
        }
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("h", "Help", histogram);
        text::encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE h histogram",
            "h_bucket{le=\"0.00001\"} 2",
            "h_bucket{le=\"0.000025\"} 3",
            "h_bucket{le=\"0.5\"} 3",
            "h_bucket{le=\"1.0\"} 4",
            "h_bucket{le=\"10.0\"} 5",
            "h_bucket{le=\"+Inf\"} 6",
            "h_count 6",
            "h_sum 21.000020002",
        ] {
            assert!(text.lines().any(|there| there == line), "no {line} in:\n{text}");
        }
    }
}
