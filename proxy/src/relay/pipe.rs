//! Pipes that bytes pass through from socket to socket without being copied. Source: splice(2), pipe(7).
//!
//! A pipe costs two descriptors, and a user who is not root gets small ones after the first thousand or so. So a thread
//! keeps a few, and lends them to directions that move much at the moment.

use std::{cell::RefCell, io, os::fd::OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

use super::socket::once;

/// What a pipe is asked to hold, in bytes.
const WANTED: usize = 1024 * 1024;
/// One that holds less is not worth its system calls, in bytes.
const SMALLEST: usize = 64 * 1024;
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
/// How many a thread lends at once, 32 MiB of bytes that wait. Where more directions are bulk, the others copy.
const MOST: usize = 32;
/// How many it keeps: each takes two descriptors.
const KEPT: usize = 16;
/// How often pieces are copied after the system had no pipe to give, before it is asked again.
const REST: u32 = 1_000;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { kept: Vec::new(), lent: 0, in_vain: 0 }) };
}

struct Pool {
    kept: Vec<(OwnedFd, OwnedFd)>,
    lent: usize,
    /// So often nobody needs to ask the system, which has just said no.
    in_vain: u32,
}

/// A pipe, for as long as somebody needs it.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    /// Bytes in it.
    held: usize,
}

impl Pipe {
    /// An empty one; none if this thread has lent too many, or the system gives no more.
    pub(super) fn lend() -> Option<Self> {
        POOL.with_borrow_mut(|pool| {
            if pool.lent >= MOST {
                return None;
            }
            let ends = match pool.kept.pop() {
                Some(ends) => ends,
                None if pool.in_vain > 0 => {
                    pool.in_vain -= 1;
                    return None;
                }
                None => create().or_else(|| {
                    pool.in_vain = REST;
                    None
                })?,
            };
            pool.lent += 1;
            Some(Self { ends: Some(ends), held: 0 })
        })
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Fills it, empty as it must be, with what a socket has: how much that was, 0 at its end, none if there is nothing
    /// at the moment. That is said of the socket then, and never of a pipe that is full. A few bytes may fill a pipe, so
    /// that they are few says nothing of the socket.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<Option<usize>> {
        let Some((_, into)) = &self.ends else { return Ok(Some(0)) };
        let filled = once(from, Interest::READABLE, 0, || splice(from, None, into, None, WANTED, FLAGS))?;
        self.held += filled.unwrap_or_default();
        Ok(filled)
    }

    /// Gives a socket as much of it as it takes.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some((out, _)) = &self.ends else { return Ok(0) };
        let drained = once(to, Interest::WRITABLE, 0, || splice(out, None, to, None, self.held, FLAGS))?;
        let drained = drained.unwrap_or_default();
        self.held -= drained.min(self.held);
        Ok(drained)
    }
}

impl Drop for Pipe {
    /// Gives it back; one with something in it is of no use to anybody else.
    fn drop(&mut self) {
        // At the thread's end the pool may be gone, and the pipe goes with it.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                pool.lent = pool.lent.saturating_sub(1);
                if self.held == 0 && pool.kept.len() < KEPT {
                    pool.kept.extend(self.ends.take());
                }
            }
        });
    }
}

fn create() -> Option<(OwnedFd, OwnedFd)> {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    let size = fcntl_setpipe_size(&into, WANTED).or_else(|_| fcntl_getpipe_size(&into)).ok()?;
    (size >= SMALLEST).then_some((out, into))
}
