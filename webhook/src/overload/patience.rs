//! How long a request can be worked on.

use std::time::{Duration, Instant};

use common::duration::GoDuration;

/// How long a request may take that does not say how long its client waits: the API's own default for webhooks.
const USUAL_TIME: Duration = Duration::from_secs(10);
/// The longest that an API server waits for a webhook.
const LONGEST_TIME: Duration = Duration::from_secs(30);
/// What is left of the time for the way back, at least. A twentieth where that is more.
const WAY_BACK: Duration = Duration::from_millis(20);

/// How long a request can be worked on.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long, from when its head was read.
    time: Duration,
    /// When it ends.
    end: Instant,
}

impl Patience {
    /// From the query of a request whose head was just read.
    #[must_use]
    pub fn of(query: Option<&str>) -> Self {
        let time = answer_time(query);
        Self { time, end: Instant::now() + time }
    }

    /// Works until the end, and no longer. What needs no waiting is done in any case.
    ///
    /// # Errors
    /// [`TimeIsUp`], when it is before the work is done.
    pub async fn limit<T>(self, work: impl Future<Output = T>) -> Result<T, TimeIsUp> {
        tokio::time::timeout_at(self.end.into(), work).await.map_err(|_| TimeIsUp(self.time))
    }
}

/// A request's time is up; it was that long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeIsUp(pub Duration);

/// How long an answer may take: `timeout=` of the query, a Go duration, less the way back. As in the API server a
/// timeout of zero is none, and what can't be read isn't either.
fn answer_time(query: Option<&str>) -> Duration {
    let mut pairs = query.unwrap_or_default().split('&');
    let given = pairs.find_map(|pair| pair.strip_prefix("timeout=")).and_then(duration);
    let given = given.filter(|time| !time.is_zero()).map_or(USUAL_TIME, |time| time.min(LONGEST_TIME));
    given.saturating_sub(WAY_BACK.max(given / 20))
}

/// Whole seconds, which API servers send, are read without allocating.
fn duration(text: &str) -> Option<Duration> {
    let whole = text.strip_suffix('s').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match whole.and_then(|digits| digits.parse().ok()) {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => text.parse().ok().map(|GoDuration(time)| time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_timeout_less_the_way_back() {
        for (query, millis) in [
            (None, 9_500),
            (Some("timeout=5s"), 4_750),
            (Some("timeout=2s"), 1_900),
            (Some("dryRun=true&timeout=1s"), 950),
            (Some("timeout=500ms"), 475),
            (Some("timeout=100ms"), 80),
            (Some("timeout=10ms"), 0),
            (Some("timeout=1m0s"), 28_500),
            (Some("timeout=99999999999999999999s"), 9_500),
            (Some("timeout=1000000h"), 28_500),
            (Some("timeout=0s"), 9_500),
            (Some("timeout=0"), 9_500),
            (Some("timeout="), 9_500),
            (Some("timeout=s"), 9_500),
            (Some("timeout=-5s"), 9_500),
            (Some("timeout=soon"), 9_500),
            (Some("xtimeout=5s&timeouts=5s"), 9_500),
        ] {
            assert_eq!(answer_time(query), Duration::from_millis(millis), "{query:?}");
        }
    }
}
