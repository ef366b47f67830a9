//! What the directions of a thread share: one buffer to read into, and a bound on what waits for receivers.
//!
//! A large buffer, of which few bytes touch few pages, moves much at once. Measured beside splice(2) through pipes, it moves
//! more: what was just copied is in the processor's cache when the receiver reads it, in few large pieces.

use std::cell::{Cell, RefCell};

/// What is read at once where much is to be read, in bytes. It fits into a core's own cache.
pub(super) const MOST: usize = 1024 * 1024;
/// What is read at once in any case, in bytes.
const LEAST: usize = 16 * 1024;
/// What may wait for receivers, in bytes, before others are read from in the smallest pieces.
const WAITING: usize = 8 * MOST;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST].into_boxed_slice());
    /// Bytes that wait.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Lends as much of the buffer as may be read at once. What the receiver does not take of it has to wait, so that is the
/// less the more waits already.
pub(super) fn with_buffer<T>(action: impl FnOnce(&mut [u8]) -> T) -> T {
    let most = (WAITING.saturating_sub(HELD.get()) / (WAITING / MOST)).clamp(LEAST, MOST);
    BUFFER.with_borrow_mut(|buffer| action(buffer.get_mut(..most).unwrap_or_default()))
}

/// Bytes that the receiver has not taken yet.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: Box<[u8]>,
    gone: usize,
}

impl Waiting {
    /// In a box, since it is rare; none if there are no bytes.
    pub(super) fn new(bytes: impl Into<Box<[u8]>>) -> Option<Box<Self>> {
        let bytes = bytes.into();
        HELD.set(HELD.get() + bytes.len());
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, gone: 0 }))
    }

    /// What still waits.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    /// So many of them have been taken.
    pub(super) fn advance(&mut self, taken: usize) {
        self.gone += taken;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // At the thread's end the count may be gone.
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(self.bytes.len())));
    }
}
