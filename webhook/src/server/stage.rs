//! Where the server is in its life, told to all its connections.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The stages of a server's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// As usual.
    Serving,
    /// Still serving, but asking clients to connect elsewhere.
    Leaving,
    /// No new connections; those there are end after their request.
    Closing,
}

/// What connections are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Others wait to connect, so whoever has nothing to do is to leave.
    pub(super) crowded: bool,
}

/// The state, as connections wait for it and as requests ask for it. Each connection holds one receiver and
/// nothing else does, so they can be counted.
#[derive(Debug)]
pub(super) struct Stage {
    state: watch::Sender<State>,
    leaving: AtomicBool,
}

impl Stage {
    pub(super) fn new() -> Self {
        let state = State { phase: Phase::Serving, crowded: false };
        Self { state: watch::Sender::new(state), leaving: AtomicBool::new(false) }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.leaving.store(phase > Phase::Serving, Ordering::Relaxed);
        self.state.send_modify(|state| state.phase = phase);
    }

    /// Said again and again while it is so: who has something to do now may have nothing to do then.
    pub(super) fn crowd(&self, crowded: bool) {
        self.state.send_modify(|state| state.crowded = crowded);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Connections, and the listener while there is one.
    pub(super) fn holders(&self) -> usize {
        self.state.receiver_count()
    }

    /// Waits until there are none.
    pub(super) async fn abandoned(&self) {
        self.state.closed().await;
    }
}
