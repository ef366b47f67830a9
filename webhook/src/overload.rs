//! What a request may take of the server: time, a slot, and memory.
//!
//! With `failurePolicy: Ignore` a refusal means a Pod without its variable for good, so nothing is refused while
//! there is time left: a request waits, first come, first served, for a slot and then for the memory that its body
//! takes, and is refused only when its [`Patience`] ends.
//!
//! Nobody waits for memory while holding some: a body asks for all it may take at once, before it is read. Bodies
//! that ask for more as they grow could all hold a part and wait for each other. One that comes without a length
//! therefore asks for the longest that is allowed, and gives back the difference once it is there; API servers send
//! a length. An answer that is longer than its body is the one exception, and its wait ends with its patience.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::duration::GoDuration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::status::Refusal;

/// How long a request may take that does not say how long its client waits: the API's own default for webhooks.
const USUAL_TIME: Duration = Duration::from_secs(10);
/// The longest that an API server waits for a webhook.
const LONGEST_TIME: Duration = Duration::from_secs(30);
/// What is left of the time for the way back, at least. A twentieth where that is more.
const WAY_BACK: Duration = Duration::from_millis(20);
/// A body or an answer counts for its length and this part of it: what the allocator leaves between large blocks, and
/// the buffers that fill while one arrives. Measured with 64 MiB and 64 reviews of 3 MB at once: without it the
/// process takes 90 to 101 MiB at most, with it 75 to 85.
const BESIDE: usize = 4;
/// Answers up to this many bytes are not counted: they fit the buffers that each connection has anyway.
const SMALL: usize = 16 * 1024;

/// How much may be going on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body, in bytes.
    pub request_bytes: usize,
    /// Requests whose body arrives or is worked on.
    pub in_flight: usize,
    /// Memory of all bodies and long answers, in bytes; `request_bytes` at least.
    pub buffered_bytes: usize,
}

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

/// The slots and the memory that are left, shared by all connections.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    slots: Semaphore,
    bytes: Arc<Semaphore>,
}

/// Memory that is taken; given back when dropped.
#[derive(Debug)]
pub struct Share(OwnedSemaphorePermit);

impl Gate {
    /// All of it free.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let slots = Semaphore::new(limits.in_flight.min(Semaphore::MAX_PERMITS));
        let bytes = Arc::new(Semaphore::new(limits.buffered_bytes.min(Semaphore::MAX_PERMITS)));
        Self { limits, slots, bytes }
    }

    /// As given.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Requests that have a slot.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.limits.in_flight.saturating_sub(self.slots.available_permits())
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.limits.buffered_bytes.saturating_sub(self.bytes.available_permits())
    }

    /// Waits for a slot.
    ///
    /// # Errors
    /// None in practice.
    pub async fn slot(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.slots.acquire().await.map_err(|error| Refusal::internal(error.to_string()))
    }

    /// Waits for the memory of a body of that many bytes.
    ///
    /// # Errors
    /// None in practice.
    pub async fn share(&self, length: usize) -> Result<Share, Refusal> {
        let permits = self.price(length);
        let share = Arc::clone(&self.bytes).acquire_many_owned(permits).await;
        share.map(Share).map_err(|error| Refusal::internal(error.to_string()))
    }

    /// What that many bytes count: all there is at most, so that the longest body can always be had.
    fn price(&self, length: usize) -> u32 {
        let price = length.saturating_add(length / BESIDE).min(self.limits.buffered_bytes);
        u32::try_from(price).unwrap_or(u32::MAX)
    }

    /// Gives back what a share has over that many bytes.
    pub fn shrink(&self, share: &mut Share, length: usize) {
        let over = share.0.num_permits().saturating_sub(self.price(length) as usize);
        if over > 0 {
            drop(share.0.split(over));
        }
    }

    /// Makes an answer out of what was a body's share; the share is given back when the answer is sent. A small one
    /// fits the connection's buffers and needs none.
    ///
    /// # Errors
    /// None in practice.
    pub async fn keep(&self, mut share: Share, answer: Vec<u8>) -> Result<axum::body::Bytes, Refusal> {
        if answer.len() <= SMALL {
            return Ok(answer.into());
        }
        self.shrink(&mut share, answer.len());
        let short = (self.price(answer.len()) as usize).saturating_sub(share.0.num_permits());
        if let Some(short) = u32::try_from(short).ok().filter(|short| *short > 0) {
            let more = Arc::clone(&self.bytes).acquire_many_owned(short).await;
            share.0.merge(more.map_err(|error| Refusal::internal(error.to_string()))?);
        }
        Ok(axum::body::Bytes::from_owner(Kept { answer, _share: share }))
    }
}

/// An answer until it is sent.
struct Kept {
    answer: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.answer
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

    fn gate(buffered_bytes: usize) -> Gate {
        Gate::new(Limits { request_bytes: 1024, in_flight: 2, buffered_bytes })
    }

    #[tokio::test]
    async fn what_is_taken_comes_back() {
        let gate = gate(1 << 20);
        let slot = gate.slot().await.unwrap();
        let mut share = gate.share(500_000).await.unwrap();
        assert_eq!((gate.in_flight(), gate.buffered()), (1, 625_000));
        gate.shrink(&mut share, 1000);
        assert_eq!(gate.buffered(), 1250);
        assert_eq!(gate.keep(share, vec![1; 10]).await.unwrap().len(), 10);
        drop(slot);
        assert_eq!((gate.in_flight(), gate.buffered()), (0, 0));
    }

    #[tokio::test]
    async fn a_long_answer_is_counted_until_it_is_sent() {
        let gate = gate(1 << 20);
        let share = gate.share(1000).await.unwrap();
        let answer = gate.keep(share, vec![1; 100_000]).await.unwrap();
        let second = answer.slice(50_000..);
        drop(answer);
        assert_eq!(gate.buffered(), 125_000);
        drop(second);
        assert_eq!(gate.buffered(), 0);
    }

    #[tokio::test]
    async fn nothing_costs_more_than_there_is() {
        let gate = gate(20_000);
        let share = gate.share(20_000).await.unwrap();
        assert_eq!(gate.buffered(), 20_000);
        assert_eq!(gate.keep(share, vec![1; 30_000]).await.unwrap().len(), 30_000);
        assert_eq!(gate.buffered(), 0);
    }
}
