//! What each thread counts, apart from the others, so that no two write to the same memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides were done.
    Ok,
    /// The client broke it, or left before there was an endpoint.
    Client,
    /// The endpoint broke it.
    Upstream,
    /// No endpoint could be reached.
    Unreachable,
    /// The upstream's answer to a CONNECT was another than 2xx, or none.
    Refused,
    /// Nothing was moved for too long.
    Idle,
    /// We ended it: the endpoint had failed, or the time to drain was up.
    Closed,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Client, Self::Upstream, Self::Unreachable, Self::Refused, Self::Idle, Self::Closed];

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Client => "client_error",
            Self::Upstream => "upstream_error",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Idle => "idle",
            Self::Closed => "closed",
        }
    }
}

/// One thread's.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Connections that are open.
    pub open: AtomicU64,
    /// From clients and to clients, in bytes.
    pub bytes: [AtomicU64; 2],
    ended: [AtomicU64; Outcome::ALL.len()],
}

impl Counters {
    /// Counts a connection's end.
    pub fn ended(&self, outcome: Outcome) {
        if let Some(counter) = self.ended.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many have come to such an end.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.ended.get(outcome as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
