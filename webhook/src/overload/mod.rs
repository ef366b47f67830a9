//! What a request may take of the server: time, a slot, and memory.
//!
//! With `failurePolicy: Ignore` a refusal means a Pod without its variable for good, so nothing is refused while
//! there is time left: a request waits, first come, first served, for a slot and then for the [`memory`] that its body
//! takes, and is refused only when its [`Patience`] ends.
//!
//! Nobody waits for a slot while it has memory, and nobody waits for anything once its body is read: what is to be
//! answered takes little, and the answer is written [as it is read](sending), in a few seconds or not at all. A long
//! one keeps its slot as long, so their number is bounded.

pub mod body;
pub mod memory;
mod patience;
pub mod sending;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::memory::Memory;
pub use self::patience::{Patience, TimeIsUp};
use crate::status::Refusal;

/// How much may be going on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body, in bytes.
    pub request_bytes: usize,
    /// Requests whose body arrives or is worked on, or whose long answer is being read.
    pub in_flight: usize,
    /// Memory of all bodies, in bytes; `request_bytes` at least.
    pub buffered_bytes: usize,
}

/// The slots and the memory that are left, shared by all connections.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    slots: Arc<Semaphore>,
    memory: Memory,
}

impl Gate {
    /// All of it free.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let slots = Semaphore::new(limits.in_flight.min(Semaphore::MAX_PERMITS));
        Self { limits, slots: Arc::new(slots), memory: Memory::new(limits) }
    }

    /// As given.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Waits for a slot.
    ///
    /// # Errors
    /// None in practice.
    pub async fn slot(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.map_err(|error| Refusal::internal(error.to_string()))
    }

    /// Of all bodies.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}
