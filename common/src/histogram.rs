//! A histogram of durations that takes no lock.
//!
//! That of prometheus-client is behind a mutex, which all threads would meet at for each observation.

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

/// How often durations of which length were seen. A clone counts for the same.
#[derive(Debug, Clone)]
pub struct Histogram<const N: usize>(Arc<Cells<N>>);

#[derive(Debug)]
struct Cells<const N: usize> {
    /// Upper bounds, in seconds.
    bounds: [f64; N],
    /// One for each of them, each without those below.
    buckets: [AtomicU64; N],
    longer: AtomicU64,
    /// Enough for five hundred years.
    nanoseconds: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// With these upper bounds in seconds, the lowest first, and one without end above them.
    #[must_use]
    pub fn new(bounds: [f64; N]) -> Self {
        Self(Arc::new(Cells {
            bounds,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            longer: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }))
    }

    /// Takes note of one. A scrape at the same time may find it in the buckets and not in the sum yet.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let cells = self.0.bounds.iter().zip(&self.0.buckets);
        let bucket = cells.into_iter().find(|(bound, _)| seconds <= **bound).map(|(_, bucket)| bucket);
        bucket.unwrap_or(&self.0.longer).fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// All that was observed so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let cells = &self.0;
        let bounds = cells.bounds.into_iter().chain([f64::INFINITY]);
        let counts = cells.buckets.iter().chain([&cells.longer]).map(|cell| cell.load(Ordering::Relaxed));
        Seen {
            buckets: bounds.zip(counts).collect(),
            sum: Duration::from_nanos(cells.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

impl<const N: usize> TypedMetric for Histogram<N> {
    const TYPE: MetricType = MetricType::Histogram;
}

impl<const N: usize> EncodeMetric for Histogram<N> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.seen().encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// What one histogram holds at a moment, or several together.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Upper bounds in seconds, the last without end, and how many were below and above the one before.
    buckets: Vec<(f64, u64)>,
    sum: Duration,
}

impl Seen {
    /// Together with those of another histogram that has the same bounds.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.sum += other.sum;
        self
    }
}

impl EncodeMetric for Seen {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        // Counted from the buckets, so that it is never another number than the last of them.
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum.as_secs_f64(), count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::{encoding::text, registry::Registry};

    #[test]
    fn each_duration_is_in_its_bucket_and_all_above() {
        let histogram = Histogram::new([0.00001, 0.000025, 0.5, 1.0, 10.0]);
        for nanoseconds in [0, 10_000, 10_001, 1_000_000_000, 10_000_000_000, 10_000_000_001] {
            histogram.observe(Duration::from_nanos(nanoseconds));
        }
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("h", "Help", histogram.clone());
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
        let twice = histogram.seen().and(&histogram.seen());
        assert_eq!(twice.buckets.iter().map(|(_, count)| count).sum::<u64>(), 12);
        assert_eq!(twice.sum, Duration::from_nanos(42_000_040_004));
    }
}
