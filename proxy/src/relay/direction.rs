//! One direction of a connection.
//!
//! Small messages go through a buffer that all connections of a thread share: read, write, done. What the other side
//! does not take at once waits in memory of its own, and nothing more is read until it is gone. Where much moves, a pipe
//! takes the buffer's place, as long as there is something to move. A direction in which nothing moves holds neither.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::pipe::Pipe;

/// The shared buffer, in bytes: what a socket gives at once where much moves.
const SCRATCH: usize = 64 * 1024;
/// So many full buffers one after the other, and a pipe takes over.
const FULL_BEFORE_PIPE: u8 = 2;
/// Where a pipe gets less at once, in bytes, the buffer is tried again.
const WORTH_A_PIPE: usize = 16 * 1024;
/// How often one direction moves something before others have their turn.
const TURNS: usize = 16;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// What a direction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The sender has ended; the receiver has to be told when it has everything.
    Ending,
    Ended,
}

/// Which end of a direction broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The one that sends.
    Sender(io::Error),
    /// The one that receives.
    Receiver(io::Error),
}

/// Bytes that the receiver has not taken yet.
#[derive(Debug)]
struct Waiting {
    bytes: Box<[u8]>,
    gone: usize,
}

/// From one socket to another.
#[derive(Debug)]
pub(super) struct Direction {
    state: State,
    /// Full buffers so far, one after the other; from [`FULL_BEFORE_PIPE`] on much moves.
    full: u8,
    waiting: Option<Waiting>,
    pipe: Option<Pipe>,
    /// All that has been moved.
    pub(super) moved: u64,
}

impl Direction {
    pub(super) fn new() -> Self {
        Self { state: State::Open, full: 0, waiting: None, pipe: None, moved: 0 }
    }

    /// Begins with bytes that are there already, for the receiver.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        let waiting = (!bytes.is_empty()).then(|| Waiting { bytes: bytes.into_boxed_slice(), gone: 0 });
        Self { waiting, ..Self::new() }
    }

    /// Moves what there is to move; ready when the sender has ended and the receiver knows.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..TURNS {
            if self.state == State::Ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.deliver(context, to)).map_err(Broken::Receiver)?;
            if self.state == State::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(Broken::Receiver)?;
                self.state = State::Ended;
                return Poll::Ready(Ok(()));
            }
            if self.full >= FULL_BEFORE_PIPE && self.pipe.is_none() {
                self.pipe = Pipe::lend();
            }
            match &mut self.pipe {
                None => ready!(self.copy(context, from, to))?,
                Some(pipe) => match fill(context, pipe, from) {
                    Poll::Ready(Ok(0)) => self.state = State::Ending,
                    Poll::Ready(Ok(filled)) if filled < WORTH_A_PIPE => self.full = 0,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Sender(error))),
                    Poll::Pending => {
                        self.pipe = None;
                        return Poll::Pending;
                    }
                },
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives the receiver what waits for it.
    fn deliver(&mut self, context: &mut Context<'_>, to: &mut TcpStream) -> Poll<io::Result<()>> {
        if let Some(waiting) = &mut self.waiting {
            while let Some(rest @ [_, ..]) = waiting.bytes.get(waiting.gone..) {
                let written = ready!(Pin::new(&mut *to).poll_write(context, rest))?;
                waiting.gone += written;
                self.moved += written as u64;
            }
            self.waiting = None;
        }
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        while !pipe.is_empty() {
            ready!(to.poll_write_ready(context))?;
            match pipe.drain(to) {
                Ok(moved) => self.moved += moved as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.full < FULL_BEFORE_PIPE {
            self.pipe = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the sender has into the shared buffer, and gives the receiver what it takes of it.
    fn copy(
        &mut self,
        context: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<Result<(), Broken>> {
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *from).poll_read(context, &mut buffer)).map_err(Broken::Sender)?;
            let is_full = buffer.remaining() == 0;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            let written = match Pin::new(&mut *to).poll_write(context, bytes) {
                Poll::Ready(written) => written.map_err(Broken::Receiver)?,
                Poll::Pending => 0,
            };
            self.moved += written as u64;
            let rest = bytes.get(written..).unwrap_or_default();
            if !rest.is_empty() {
                self.waiting = Some(Waiting { bytes: rest.into(), gone: 0 });
            }
            self.full = if is_full { self.full.saturating_add(1) } else { 0 };
            Poll::Ready(Ok(()))
        })
    }
}

/// Fills an empty pipe.
fn fill(context: &mut Context<'_>, pipe: &mut Pipe, from: &TcpStream) -> Poll<io::Result<usize>> {
    loop {
        ready!(from.poll_read_ready(context))?;
        match pipe.fill(from) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}
