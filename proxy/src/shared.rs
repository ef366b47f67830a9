//! What all threads know: the settings in force, the endpoints, who is how busy, and when it is over.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use common::sparing::Sparing;
use tokio::sync::{Notify, mpsc::UnboundedSender, watch};

use crate::{
    balance::Balance,
    counters::Counters,
    endpoint::{Endpoint, Endpoints},
    protocol::Protocol,
};

/// What may change while connections are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How upstreams are spoken to.
    pub protocol: Protocol,
    /// How connections are spread.
    pub balance: Balance,
    /// In which an endpoint has to be found, and its answer to a CONNECT to come.
    pub connect_timeout: Duration,
    /// After which a connection on which nothing moves is closed; never if none.
    pub idle_timeout: Option<Duration>,
    /// How long what was sent may stay unacknowledged.
    pub user_timeout: Duration,
    /// After how long of silence, and how often, the other side is asked whether it is there.
    pub keepalive: Duration,
    /// Connections at once.
    pub max_connections: u64,
    /// Whether connections to an endpoint that has failed are closed, if there is a healthy one.
    pub close_on_unhealthy: bool,
    /// Which connections get a line in the log.
    pub access_log: AccessLog,
}

/// Which connections get a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Those that did not end well.
    Errors,
    /// Each.
    All,
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Connections are accepted.
    Serving,
    /// No more are accepted, those that are open may end.
    Draining,
    /// Those that are open are cut.
    Cut,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The client's side.
    pub client: TcpStream,
    /// The client.
    pub peer: std::net::SocketAddr,
}

/// A thread, as others see it.
#[derive(Debug)]
pub struct Desk {
    /// What it counts.
    pub counters: Counters,
    /// Where connections are handed to it.
    pub inbox: UnboundedSender<Accepted>,
}

impl Desk {
    /// One more connection.
    pub fn opened(&self) {
        self.counters.open.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn closed(&self) {
        self.counters.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all threads know.
#[derive(Debug)]
pub struct Shared {
    /// In force for new connections.
    pub settings: ArcSwap<Settings>,
    /// Where they may go.
    pub endpoints: ArcSwap<Endpoints>,
    /// All threads that carry connections.
    pub desks: Vec<Desk>,
    /// How far the end is.
    pub phase: watch::Sender<Phase>,
    /// Connections that have been taken up.
    turn: AtomicUsize,
    open: AtomicU64,
    /// Told when a connection ends while there is no room for another.
    room: Notify,
    /// How often there was none.
    pub paused: AtomicU64,
    /// Connections that the system lets us have, whatever the settings say.
    ceiling: AtomicU64,
    /// Told when the endpoints are others.
    endpoints_changed: watch::Sender<()>,
    /// Whether an endpoint has ever answered.
    has_answered: AtomicBool,
    /// Told when one does for the first time.
    answer: Notify,
}

impl Shared {
    /// Serving, with no connection yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        endpoints: Endpoints,
        inboxes: Vec<UnboundedSender<Accepted>>,
    ) -> Arc<Self> {
        let desks = inboxes.into_iter().map(|inbox| Desk { counters: Counters::default(), inbox }).collect();
        Arc::new(Self {
            settings: ArcSwap::from_pointee(settings),
            endpoints: ArcSwap::from_pointee(endpoints),
            desks,
            phase: watch::Sender::new(Phase::Serving),
            turn: AtomicUsize::new(0),
            open: AtomicU64::new(0),
            room: Notify::new(),
            paused: AtomicU64::new(0),
            ceiling: AtomicU64::new(u64::MAX),
            endpoints_changed: watch::Sender::new(()),
            has_answered: AtomicBool::new(false),
            answer: Notify::new(),
        })
    }

    /// Counts connections, from 0.
    pub fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until there is room for another connection.
    pub async fn has_room(&self) {
        if self.open() < self.most() {
            return;
        }
        self.paused.fetch_add(1, Ordering::Relaxed);
        static LINES: Sparing = Sparing::new();
        if let Some(left_out) = LINES.turn() {
            tracing::warn!(
                open = self.open(),
                left_out,
                "as many connections as there may be; accepting waits for one to end"
            );
        }
        loop {
            let told = self.room.notified();
            if self.open() < self.most() {
                return;
            }
            told.await;
        }
    }

    /// Connections at once.
    fn most(&self) -> u64 {
        self.settings.load().max_connections.min(self.ceiling.load(Ordering::Relaxed))
    }

    /// Whatever the settings say, there will be no more connections than that at once.
    pub fn limit(&self, connections: u64) {
        self.ceiling.store(connections, Ordering::Relaxed);
    }

    /// Settings were changed: there may be room now.
    pub fn settings_changed(&self) {
        self.room.notify_waiters();
    }

    /// Takes the place of one more connection, if there is one. Whoever accepts does so first: looked at and taken in one
    /// step, the last place is not taken by each thread and for each address.
    #[must_use]
    pub fn reserve(&self) -> bool {
        let most = self.most();
        let one_more = |open| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Takes it in any case.
    pub fn reserve_regardless(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a place back.
    pub fn give_back(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) >= self.most() {
            self.room.notify_waiters();
        }
    }

    /// Whether connections to an endpoint should go elsewhere.
    #[must_use]
    pub fn should_leave(&self, endpoint: &Endpoint) -> bool {
        let settings = self.settings.load();
        settings.close_on_unhealthy && !endpoint.is_healthy() && self.endpoints.load().any_well()
    }

    /// The thread that has least to do, if this one has clearly more.
    #[must_use]
    pub fn idler(&self, desk: &Desk) -> Option<&Desk> {
        let open = |desk: &Desk| desk.counters.open.load(Ordering::Relaxed);
        let least = self.desks.iter().min_by_key(|desk| open(desk))?;
        // To hand a connection over costs something, too.
        (open(desk) > open(least) + open(least) / 8).then_some(least)
    }

    /// Puts other endpoints in place. There is one who does ([`keep`](crate::resolve::keep)).
    pub fn replace_endpoints(&self, endpoints: Endpoints) {
        self.endpoints.store(Arc::new(endpoints));
        self.endpoints_changed.send_replace(());
    }

    /// Tells when the endpoints are others.
    #[must_use]
    pub fn endpoints_changed(&self) -> watch::Receiver<()> {
        self.endpoints_changed.subscribe()
    }

    /// An endpoint has answered, to a check or to a connection.
    pub fn note_answer(&self) {
        // Read first: it is written once, and each connection comes by here.
        if !self.has_answered() {
            self.has_answered.store(true, Ordering::Release);
            self.answer.notify_waiters();
        }
    }

    /// Whether one ever has.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Acquire)
    }

    /// Waits until one has.
    pub async fn answered(&self) {
        loop {
            let told = self.answer.notified();
            if self.has_answered() {
                return;
            }
            told.await;
        }
    }
}

/// Waits for a change. There is none once nobody is left who could make one.
pub async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}
