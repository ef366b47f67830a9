//! The memory of all bodies.
//!
//! A body takes its share as it arrives, so who announces much and sends nothing has nothing. Small bodies, which
//! nearly all are, have a part of their own, which long ones can't fill, and the pool besides. Long ones share the
//! pool. Bodies that grow could all hold a part of it and wait for each other for ever; therefore one body's worth is
//! kept apart, the reserve. When the rest is taken, one body after the other gets the reserve, which is enough for it
//! to the end, and gives its part of the pool to the others. It has the reserve only for as long as it keeps coming;
//! whoever stops half way without it keeps what has come till its time is up. A body that is read waits for nothing,
//! so all that is taken comes back.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::Limits;
use crate::status::Refusal;

/// A body counts for its length and this part of it: what the allocator leaves between large blocks, and the buffers
/// that fill while one arrives. Measured with 64 MiB and 64 reviews of 3 MB at once: with a quarter the process takes
/// 87 to 97 MB at most, with a third 76 to 88.
const BESIDE: usize = 3;
/// What a body takes at a time, in bytes; a quarter of what has come where that is more. One that is announced to be
/// no longer than this is small.
const STEP: usize = 64 * 1024;
/// The part of all memory that is for small bodies.
const FOR_SMALL: usize = 16;
/// How long whoever has the reserve may take for each MiB. The longest body that is allowed comes faster than
/// that if it comes within the longest time that an API server waits.
pub const PIECE_TIME: Duration = Duration::from_secs(3);
/// A MiB.
const PIECE: usize = 1024 * 1024;

/// What is left.
#[derive(Debug)]
pub struct Memory {
    small: Part,
    pool: Part,
    /// One permit, for all of it.
    reserve: Arc<Semaphore>,
}

/// A part that many can have some of.
#[derive(Debug)]
struct Part {
    size: usize,
    left: Arc<Semaphore>,
}

/// Memory that is taken; given back when dropped.
#[derive(Debug, Default)]
pub struct Share {
    room: usize,
    /// Of the pool, or of the small ones' part, where one helping is enough.
    taken: Option<OwnedSemaphorePermit>,
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

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
    }
}

impl Part {
    fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self { size, left: Arc::new(Semaphore::new(size)) }
    }

    /// Waits for some; for ever if there is not that much.
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        match u32::try_from(bytes) {
            Ok(permits) if bytes <= self.size => Arc::clone(&self.left).acquire_many_owned(permits).await,
            _ => std::future::pending().await,
        }
    }
}

impl Memory {
    /// All of it free. There is always room for one small and one long body, even where that is more than the limit.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let small = (limits.buffered_bytes / FOR_SMALL).max(price(STEP));
        let pool = limits.buffered_bytes.saturating_sub(small + price(limits.request_bytes));
        Self { small: Part::new(small), pool: Part::new(pool), reserve: Arc::new(Semaphore::new(1)) }
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
        let wanted = price(room).saturating_sub(price(share.room));
        let more = tokio::select! {
            biased;
            more = self.small.take(wanted), if whole <= STEP => more,
            more = self.pool.take(wanted) => more,
            permit = Arc::clone(&self.reserve).acquire_owned() => {
                let (until, length) = (Instant::now() + PIECE_TIME, length.saturating_add(PIECE));
                share.reserve = Some(Turn { _permit: permit.map_err(closed)?, until, length });
                (share.taken, share.room) = (None, whole);
                return Ok(());
            }
        };
        share.add(more.map_err(closed)?);
        share.room = room;
        Ok(())
    }
}

/// What that many bytes count.
fn price(length: usize) -> usize {
    length.saturating_add(length / BESIDE)
}

fn closed(error: AcquireError) -> Refusal {
    Refusal::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// A pool of two and a half MiB, half of one for small bodies, and a reserve for one body of four.
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
            (1, MIB, STEP + STEP / 3),
            (STEP, MIB, STEP + STEP / 3),
            (STEP + 1, 100_000, 133_333),
            (100_000, 100_000, 133_333),
        ] {
            memory.grow(&mut share, length, whole).await.unwrap();
            assert_eq!(memory.pool.left.available_permits(), memory.pool.size - taken, "{length} of {whole}");
        }
        drop(share);
        assert_eq!(memory.pool.left.available_permits(), memory.pool.size);
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
        assert_eq!(
            (memory.pool.left.available_permits(), memory.reserve.available_permits()),
            (memory.pool.size, 1)
        );
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
    async fn small_bodies_pass_by_long_ones_that_wait() {
        let memory = memory();
        let mut long = [Share::default(), Share::default()];
        let (mut waiting, mut unknown) = (Share::default(), Share::default());
        for share in &mut long {
            memory.grow(share, MIB, 4 * MIB).await.unwrap();
        }
        assert!(long[1].until().is_some() && memory.pool.left.available_permits() > 2 * price(STEP));
        let wait = memory.grow(&mut waiting, MIB, 4 * MIB);
        let small = async {
            let (mut first, mut second) = (Share::default(), Share::default());
            for share in [&mut first, &mut second] {
                memory.grow(share, 1, STEP).await.unwrap();
                assert_eq!(share.until(), None);
            }
            assert!(soon(memory.grow(&mut unknown, 1, 4 * MIB)).await.is_none(), "it may be long");
        };
        tokio::select! {
            biased;
            _ = wait => panic!("there is no room"),
            () = small => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_ones_share_the_pool_when_there_are_many() {
        let memory = memory();
        let mut shares: Vec<Share> = Vec::new();
        for _ in 0..20 {
            let mut share = Share::default();
            memory.grow(&mut share, 1, STEP).await.unwrap();
            assert_eq!(share.until(), None);
            shares.push(share);
        }
        assert!(memory.small.left.available_permits() < price(STEP));
        assert!(memory.pool.left.available_permits() < memory.pool.size);
    }

    #[tokio::test(start_paused = true)]
    async fn one_long_body_at_a_time_where_there_is_room_for_one() {
        let memory = Memory::new(Limits { request_bytes: MIB, in_flight: 9, buffered_bytes: MIB });
        let (mut first, mut second, mut small) = (Share::default(), Share::default(), Share::default());
        memory.grow(&mut first, 10, MIB).await.unwrap();
        assert!(soon(memory.grow(&mut second, 10, MIB)).await.is_none());
        memory.grow(&mut small, 10, 10).await.unwrap();
        drop(first);
        memory.grow(&mut second, 10, MIB).await.unwrap();
    }
}
