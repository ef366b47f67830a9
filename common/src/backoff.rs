//! How long to wait after a failure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Doubles from 200 ms up to ten seconds, or up to the sync interval if that is less, until told that all is well.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    /// With the sync interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { next: FIRST, limit: interval.clamp(FIRST, LONGEST) }
    }

    /// The wait after one more failure.
    pub fn failed(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.limit);
        wait
    }

    /// The next failure is a first one again.
    pub fn succeeded(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again() {
        let waits = |interval, count| -> Vec<u128> {
            let mut backoff = Backoff::new(interval);
            (0..count).map(|_| backoff.failed().as_millis()).collect()
        };
        assert_eq!(waits(Duration::from_secs(1), 5), [200, 400, 800, 1000, 1000]);
        assert_eq!(waits(Duration::from_secs(3600), 8).last(), Some(&10_000));
        assert_eq!(waits(Duration::from_nanos(1), 3), [200, 200, 200]);
        let mut backoff = Backoff::new(Duration::from_secs(1));
        backoff.failed();
        backoff.succeeded();
        assert_eq!(backoff.failed().as_millis(), 200);
    }
}
