//! The API servers, and what is known of each.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};

/// After which a suspicion ends by itself, if no check has ended it: longer than from one check to the next by default.
const SUSPICION: Duration = Duration::from_secs(15);
/// What suspicions are timed from.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// An address at which an API server may be reached. Shared by all threads; nothing in it takes a lock.
#[derive(Debug)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    healthy: AtomicBool,
    /// Connects fail outright, as when nobody listens.
    refuses: AtomicBool,
    /// Until when it is suspected, in milliseconds since [`BEGIN`]; 0 if it is not.
    suspected: AtomicU64,
    open: AtomicU32,
    failures: AtomicU32,
    /// Tells its connections to look whether they should end.
    changed: Notify,
    /// Tells its checks that a connection has found something.
    alarm: Notify,
}

impl Endpoint {
    /// One of which nothing is known, which counts as good.
    #[must_use]
    pub fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            healthy: AtomicBool::new(true),
            refuses: AtomicBool::new(false),
            suspected: AtomicU64::new(0),
            open: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            changed: Notify::new(),
            alarm: Notify::new(),
        })
    }

    /// Whether new connections should go there.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Whether connects to it fail outright.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// Whether other endpoints should be preferred to it for now, although it has not failed.
    #[must_use]
    pub fn is_suspected(&self) -> bool {
        self.is_suspected_at(Instant::now)
    }

    fn is_suspected_at(&self, now: impl Fn() -> Instant) -> bool {
        // The clock is asked only where there is something to ask it.
        let until = self.suspected.load(Ordering::Relaxed);
        until > 0 && since_begin(now()) < until
    }

    /// Suspects it for some seconds, or until it [is well](Self::set_health); says whether that is new. It closes no
    /// connection of this one, and leaves those of others, that have failed, where they are for so long.
    pub fn suspect(&self) -> bool {
        let now = Instant::now();
        let before = self.suspected.swap(since_begin(now + SUSPICION), Ordering::Relaxed);
        before <= since_begin(now)
    }

    /// Asks for a check soon.
    pub fn ask_for_check(&self) {
        self.alarm.notify_one();
    }

    /// Waits until somebody [asks](Self::ask_for_check), or returns at once if somebody has. For one task.
    pub async fn asked_for_check(&self) {
        self.alarm.notified().await;
    }

    /// Takes note of what became of it; says whether that is new.
    pub fn set_health(&self, healthy: bool, refuses: bool) -> bool {
        self.refuses.store(refuses, Ordering::Relaxed);
        self.suspected.store(0, Ordering::Relaxed);
        let before = self.healthy.swap(healthy, Ordering::Relaxed);
        if !healthy {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
        before != healthy
    }

    /// How often it has failed so far. Counted before its connections are told.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What its connections wait for.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Connections to it that are open or about to be.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts one more, until the guard is dropped.
    #[must_use]
    pub fn occupy(self: &Arc<Self>) -> Occupied {
        self.open.fetch_add(1, Ordering::Relaxed);
        Occupied(Arc::clone(self))
    }
}

/// In milliseconds, never 0.
fn since_begin(instant: Instant) -> u64 {
    u64::try_from(instant.saturating_duration_since(*BEGIN).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Occupied(Arc<Endpoint>);

impl Occupied {
    /// Where to.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All endpoints there are, in the order of their addresses.
#[derive(Debug, Default)]
pub struct Endpoints(Vec<Arc<Endpoint>>);

impl Endpoints {
    /// Those of these addresses; what is known of one that was there before stays known.
    #[must_use]
    pub fn update(&self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut addresses: Vec<SocketAddr> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        let known = |address: &SocketAddr| self.0.iter().find(|there| there.address == *address).cloned();
        Self(
            addresses
                .iter()
                .map(|address| known(address).unwrap_or_else(|| Endpoint::new(*address)))
                .collect(),
        )
    }

    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Endpoint>] {
        &self.0
    }

    /// Whether one of them is healthy, beyond suspicion.
    #[must_use]
    pub fn any_well(&self) -> bool {
        self.0.iter().any(|endpoint| endpoint.is_healthy() && !endpoint.is_suspected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspicion_ends_by_a_verdict_or_by_itself() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into());
        assert!(!endpoint.is_suspected());
        assert!(endpoint.suspect() && !endpoint.suspect());
        assert!(endpoint.is_suspected() && endpoint.is_healthy());
        let later = |seconds| move || Instant::now() + Duration::from_secs(seconds);
        assert!(endpoint.is_suspected_at(later(14)) && !endpoint.is_suspected_at(later(16)));
        assert!(!endpoint.set_health(true, false) && !endpoint.is_suspected());
        assert!(endpoint.suspect());
        assert!(endpoint.set_health(false, false) && !endpoint.is_suspected());
    }
}
