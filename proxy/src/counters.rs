//! What each thread counts, apart from the others, so that no two write to the same memory.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use common::histogram::Histogram;

use crate::connect::Reason;

/// Upper bounds of how long a connection may last, in seconds: to a day.
const LASTING: [f64; 10] = [0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0, 86400.0];
/// Upper bounds of how long it may take to reach an endpoint, in seconds.
const REACHING: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 0.5, 1.0, 5.0];

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
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// Connections that are open.
    pub open: AtomicU64,
    /// From clients and to clients, in bytes.
    pub bytes: [AtomicU64; 2],
    /// How long connections lasted, from their acceptance to their end.
    pub lasted: Histogram<{ LASTING.len() }>,
    /// How long it took to reach an endpoint.
    pub reached: Histogram<{ REACHING.len() }>,
    ended: [AtomicU64; Outcome::ALL.len()],
    failed: [AtomicU64; Reason::ALL.len()],
    /// Statuses other than 2xx that answered a CONNECT. Behind a lock, since they are rare; three digits each.
    refused: Mutex<BTreeMap<u16, u64>>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            open: AtomicU64::default(),
            bytes: Default::default(),
            lasted: Histogram::new(LASTING),
            reached: Histogram::new(REACHING),
            ended: Default::default(),
            failed: Default::default(),
            refused: Mutex::default(),
        }
    }
}

impl Counters {
    /// Counts a connection's end.
    pub fn ended(&self, outcome: Outcome) {
        if let Some(counter) = self.ended.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connect that failed.
    pub fn failed(&self, reason: Reason) {
        if let Some(counter) = self.failed.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many connects failed for such a reason.
    #[must_use]
    pub fn failures(&self, reason: Reason) -> u64 {
        self.failed.get(reason as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Counts the refusal of a CONNECT.
    pub fn refused(&self, status: u16) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }

    /// How often a CONNECT was refused, by status.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<u16, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many have come to such an end.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.ended.get(outcome as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
