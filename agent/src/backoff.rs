//! How long to wait after a failure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);

/// Doubles from 200 ms up to a limit, until told that all is well.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    /// Waits never exceed `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { next: FIRST.min(limit), limit }
    }

    /// The wait after one more failure.
    pub fn failed(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.limit);
        wait
    }

    /// The next failure is a first one again.
    pub fn succeeded(&mut self) {
        self.next = FIRST.min(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(1000));
        let waits: Vec<u128> = (0..5).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1000, 1000]);
        backoff.succeeded();
        assert_eq!(backoff.failed().as_millis(), 200);
        assert_eq!(Backoff::new(Duration::from_millis(50)).failed().as_millis(), 50);
    }
}
