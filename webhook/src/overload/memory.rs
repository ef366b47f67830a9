//! The memory of all bodies and long answers.
//!
//! A body takes its share as it arrives, so who announces much and sends nothing has nothing. Bodies that grow could
//! all hold a part and wait for each other for ever; therefore one body's worth is kept apart, the reserve. When the
//! rest, the pool, is taken, one body after the other gets the reserve, which is enough for it to the end, and gives
//! its part of the pool to the others. It has the reserve only for as long as it keeps coming; whoever stops half way
//! without it keeps what has come till its time is up.
//!
//! An answer that is longer than its body waits for more while it holds something; that wait ends with the patience of
//! its client.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::Limits;
use crate::status::Refusal;

/// A body or an answer counts for its length and this part of it: what the allocator leaves between large blocks, and
/// the buffers that fill while one arrives. Measured with 64 MiB and 64 reviews of 3 MB at once: with a quarter the
/// process takes 87 to 97 MB at most, with a third 76 to 88.
const BESIDE: usize = 3;
/// Answers up to this many bytes are not counted: they fit the buffers that each connection has anyway.
const SMALL: usize = 16 * 1024;
/// What a body takes at a time, in bytes; a quarter of what has come where that is more.
const STEP: usize = 64 * 1024;
/// How long whoever has the reserve may take for each MiB. The longest body that is allowed comes faster than
/// that if it comes within the longest time that an API server waits.
pub const PIECE_TIME: Duration = Duration::from_secs(3);
/// A MiB.
const PIECE: usize = 1024 * 1024;

/// What is left.
#[derive(Debug)]
pub struct Memory {
    /// The pool's.
    size: usize,
    pool: Arc<Semaphore>,
    /// One permit, for all of it.
    reserve: Arc<Semaphore>,
}

/// Memory that is taken; given back when dropped.
#[derive(Debug, Default)]
pub struct Share {
    room: usize,
    pool: Option<OwnedSemaphorePermit>,
    reserve: Option<Turn>,
}

/// A body's time with the reserve.
#[derive(Debug)]
struct Turn {
    _permit: OwnedSemaphorePermit,
    /// When it must be as long as that.
    until: Instant,
    length: usize,
}

impl Share {
    /// Until when the next piece of its body must be there; nothing while there is room for others.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.reserve.as_ref().map(|turn| turn.until)
    }

    /// How long a buffer it is enough for. One that is set aside for more may be one that was full before, and still
    /// takes all of its memory.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    fn of_pool(&self) -> usize {
        self.pool.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.pool {
            Some(pool) => pool.merge(more),
            None => self.pool = Some(more),
        }
    }
}

impl Memory {
    /// All of it free.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let reserve = price(limits.request_bytes).min(limits.buffered_bytes);
        let size = (limits.buffered_bytes - reserve).min(Semaphore::MAX_PERMITS);
        Self { size, pool: Arc::new(Semaphore::new(size)), reserve: Arc::new(Semaphore::new(1)) }
    }

    /// Waits until a body's share is enough for `length` bytes of the `whole` that it may have.
    ///
    /// # Errors
    /// None in practice.
    pub async fn grow(&self, share: &mut Share, length: usize, whole: usize) -> Result<(), Refusal> {
        if let Some(turn) = share.reserve.as_mut().filter(|turn| length >= turn.length) {
            (turn.until, turn.length) = (Instant::now() + PIECE_TIME, length.saturating_add(PIECE));
        }
        if length <= share.room {
            return Ok(());
        }
        let room = (length + length / 4).next_multiple_of(STEP).min(whole.max(length));
        tokio::select! {
            biased;
            more = self.take(price(room).saturating_sub(share.of_pool())) => {
                share.add(more.map_err(closed)?);
                share.room = room;
            }
            permit = Arc::clone(&self.reserve).acquire_owned() => {
                let (until, length) = (Instant::now() + PIECE_TIME, length.saturating_add(PIECE));
                share.reserve = Some(Turn { _permit: permit.map_err(closed)?, until, length });
                (share.pool, share.room) = (None, whole);
            }
        }
        Ok(())
    }

    /// Makes an answer out of what was a body's share; the share is given back when the answer is sent. A small one
    /// fits the connection's buffers and needs none.
    ///
    /// # Errors
    /// None in practice.
    pub async fn keep(&self, mut share: Share, answer: Vec<u8>) -> Result<Bytes, Refusal> {
        if answer.len() <= SMALL {
            return Ok(answer.into());
        }
        let (wanted, has) = (price(answer.len()), share.of_pool());
        if wanted > has {
            // The reserve is for bodies: whoever reads an answer slowly must not have it, if there is a pool at all.
            if wanted <= self.size || share.reserve.is_none() {
                share.add(self.take((wanted - has).min(self.size - has)).await.map_err(closed)?);
                share.reserve = None;
            }
        } else if let Some(pool) = &mut share.pool {
            drop(pool.split(has - wanted));
        }
        Ok(Bytes::from_owner(Kept { answer, _share: share }))
    }

    /// Waits for a part of the pool; for ever if it is not that large.
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        match u32::try_from(bytes) {
            Ok(permits) if bytes <= self.size => Arc::clone(&self.pool).acquire_many_owned(permits).await,
            _ => std::future::pending().await,
        }
    }
}

/// What that many bytes count.
fn price(length: usize) -> usize {
    length.saturating_add(length / BESIDE)
}

fn closed(error: AcquireError) -> Refusal {
    Refusal::internal(error.to_string())
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

    const MIB: usize = 1024 * 1024;

    /// A pool of about three MiB, and a reserve for one body of four.
    fn memory() -> Memory {
        Memory::new(Limits { request_bytes: 4 * MIB, in_flight: 9, buffered_bytes: 8 * MIB + MIB / 2 })
    }

    async fn soon<T>(wait: impl Future<Output = Result<T, Refusal>>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(10), wait).await.ok().map(Result::unwrap)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_what_has_come_of_it() {
        let memory = memory();
        let mut share = Share::default();
        for (length, whole, taken) in [
            (0, MIB, 0),
            (100, 1000, 1333),
            (1000, 1000, 1333),
            (1001, MIB, STEP + STEP / 3),
            (STEP, MIB, STEP + STEP / 3),
        ] {
            memory.grow(&mut share, length, whole).await.unwrap();
            assert_eq!(memory.pool.available_permits(), memory.size - taken, "{length} of {whole}");
        }
        drop(share);
        assert_eq!(memory.pool.available_permits(), memory.size);
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_each_holds_up_none() {
        let memory = memory();
        let mut shares: Vec<Share> = Vec::new();
        for _ in 0..5 {
            let mut share = Share::default();
            memory.grow(&mut share, MIB / 4, 4 * MIB).await.unwrap();
            shares.push(share);
        }
        // One has the reserve and gives up its part of the pool, which the next then takes.
        for share in &mut shares {
            soon(memory.grow(share, MIB, 4 * MIB)).await;
        }
        let waiting: Vec<usize> = (0..5).filter(|n| shares[*n].until().is_some()).collect();
        assert_eq!(waiting.len(), 1, "{shares:?}");
        // As each comes to its end, the rest come to theirs.
        while let Some(at) = shares.iter().position(|share| share.until().is_some()) {
            memory.grow(&mut shares[at], 4 * MIB, 4 * MIB).await.unwrap();
            drop(shares.remove(at));
            for share in &mut shares {
                soon(memory.grow(share, 4 * MIB, 4 * MIB)).await;
            }
        }
        assert!(shares.is_empty(), "{shares:?}");
        assert_eq!((memory.pool.available_permits(), memory.reserve.available_permits()), (memory.size, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_is_for_a_time_that_each_piece_renews() {
        let memory = memory();
        let (mut first, mut second) = (Share::default(), Share::default());
        memory.grow(&mut first, MIB, 4 * MIB).await.unwrap();
        assert_eq!(first.until(), None, "there is room");
        let begun = Instant::now();
        memory.grow(&mut second, MIB, 4 * MIB).await.unwrap();
        tokio::time::advance(PIECE_TIME / 2).await;
        memory.grow(&mut second, MIB + STEP, 4 * MIB).await.unwrap();
        assert_eq!(second.until(), Some(begun + PIECE_TIME), "less than a piece");
        memory.grow(&mut second, 2 * MIB, 4 * MIB).await.unwrap();
        assert_eq!(second.until(), Some(begun + PIECE_TIME / 2 + PIECE_TIME));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_is_counted_until_it_is_sent_and_leaves_the_reserve() {
        let memory = memory();
        let (mut other, mut share) = (Share::default(), Share::default());
        memory.grow(&mut other, MIB, 4 * MIB).await.unwrap();
        memory.grow(&mut share, MIB, 4 * MIB).await.unwrap();
        assert!(share.until().is_some());
        let answer = memory.keep(share, vec![1; 100_000]).await.unwrap();
        assert_eq!(memory.reserve.available_permits(), 1);
        drop(other);
        let second = answer.slice(50_000..);
        drop(answer);
        assert_eq!(memory.pool.available_permits(), memory.size - 133_333);
        drop(second);
        assert_eq!(memory.pool.available_permits(), memory.size);
    }

    #[tokio::test(start_paused = true)]
    async fn one_body_at_a_time_where_there_is_room_for_one() {
        let memory = Memory::new(Limits { request_bytes: MIB, in_flight: 9, buffered_bytes: MIB });
        let (mut first, mut second) = (Share::default(), Share::default());
        memory.grow(&mut first, 10, MIB).await.unwrap();
        assert!(soon(memory.grow(&mut second, 10, 10)).await.is_none());
        let answer = memory.keep(first, vec![1; 2 * MIB]).await.unwrap();
        assert!(soon(memory.grow(&mut second, 10, 10)).await.is_none());
        drop(answer);
        memory.grow(&mut second, 10, 10).await.unwrap();
    }
}
