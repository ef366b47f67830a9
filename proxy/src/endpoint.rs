//! The API servers, and what is known of each.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use tokio::sync::{Notify, futures::Notified};

/// An address at which an API server may be reached. Shared by all threads; nothing in it takes a lock.
#[derive(Debug)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    healthy: AtomicBool,
    /// Connects fail outright, as when nobody listens.
    refuses: AtomicBool,
    open: AtomicU32,
    failures: AtomicU32,
    /// Tells its connections to look whether they should end.
    changed: Notify,
}

impl Endpoint {
    /// One of which nothing is known, which counts as good.
    #[must_use]
    pub fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            healthy: AtomicBool::new(true),
            refuses: AtomicBool::new(false),
            open: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            changed: Notify::new(),
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

    /// Takes note of what became of it; says whether that is new.
    pub fn set_health(&self, healthy: bool, refuses: bool) -> bool {
        self.refuses.store(refuses, Ordering::Relaxed);
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

    /// Whether one of them is healthy.
    #[must_use]
    pub fn any_healthy(&self) -> bool {
        self.0.iter().any(|endpoint| endpoint.is_healthy())
    }
}
