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

/// The phase, as connections wait for it and as requests ask for it. Each connection holds one receiver and
/// nothing else does, so they can be counted.
#[derive(Debug)]
pub(super) struct Stage {
    phase: watch::Sender<Phase>,
    leaving: AtomicBool,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), leaving: AtomicBool::new(false) }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.leaving.store(phase > Phase::Serving, Ordering::Relaxed);
        self.phase.send_replace(phase);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Connections, and the listener while there is one.
    pub(super) fn holders(&self) -> usize {
        self.phase.receiver_count()
    }

    /// Waits until there are none.
    pub(super) async fn abandoned(&self) {
        self.phase.closed().await;
    }
}
