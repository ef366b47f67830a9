//! One way of a connection.
//!
//! Small messages go through one buffer that all connections of a thread share: read, write, done. What the other side
//! does not take at once waits in memory of its own, and nothing more is read until it is gone. Where much moves, a pipe
//! takes the buffer's place, as long as there is something to move. A direction in which nothing moves holds neither.

use std::{
    cell::RefCell,
    io,
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{
    pipe::Pipe,
    socket::{self, broken},
};

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
pub(super) struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    state: State,
    /// Full buffers so far, one after the other; from [`FULL_BEFORE_PIPE`] on much moves.
    full: u8,
    /// In a box, since it is rare.
    waiting: Option<Box<Waiting>>,
    pipe: Option<Pipe>,
    /// Tells that the sender broke, while nothing is read from it.
    trouble: Option<Pin<Box<dyn Future<Output = io::Error> + Send + 'a>>>,
    /// All that has been moved.
    pub(super) moved: u64,
}

impl<'a> Direction<'a> {
    /// Begins with bytes that are there already, for the receiver.
    pub(super) fn new(from: &'a TcpStream, to: &'a TcpStream, early: Vec<u8>) -> Self {
        let waiting =
            (!early.is_empty()).then(|| Box::new(Waiting { bytes: early.into_boxed_slice(), gone: 0 }));
        Self { from, to, state: State::Open, full: 0, waiting, pipe: None, trouble: None, moved: 0 }
    }

    /// Whether the sender has ended, and the receiver has everything.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Moves what there is to move; ready when the sender has ended and the receiver knows. Of the `last` direction the
    /// receiver learns it when the sockets are closed, which is about to happen.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, last: bool) -> Poll<Result<(), Broken>> {
        for _ in 0..TURNS {
            if self.state == State::Ended {
                return Poll::Ready(self.look_at_sender(context));
            }
            match self.deliver(context) {
                Poll::Ready(delivered) => delivered.map_err(Broken::Receiver)?,
                Poll::Pending => {
                    self.look_at_sender(context)?;
                    return Poll::Pending;
                }
            }
            if self.state == State::Ending {
                if !last {
                    SockRef::from(self.to).shutdown(Shutdown::Write).map_err(Broken::Receiver)?;
                }
                self.state = State::Ended;
                continue;
            }
            if self.full >= FULL_BEFORE_PIPE && self.pipe.is_none() {
                self.pipe = Pipe::lend();
            }
            match &mut self.pipe {
                None => ready!(self.copy(context))?,
                Some(pipe) => match fill(context, pipe, self.from) {
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

    /// Looks at a sender from which nothing is read at the moment: that it broke would be noticed too late or never.
    fn look_at_sender(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        let from = self.from;
        let trouble = self.trouble.get_or_insert_with(|| Box::pin(broken(from)));
        match trouble.as_mut().poll(context) {
            Poll::Ready(error) => Err(Broken::Sender(error)),
            Poll::Pending => Ok(()),
        }
    }

    /// Gives the receiver what waits for it.
    fn deliver(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let to = self.to;
        if let Some(waiting) = &mut self.waiting {
            while let Some(rest @ [_, ..]) = waiting.bytes.get(waiting.gone..) {
                ready!(to.poll_write_ready(context))?;
                let written = socket::write(to, rest)?;
                waiting.gone += written;
                self.moved += written as u64;
            }
            self.waiting = None;
        }
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        while !pipe.is_empty() {
            ready!(to.poll_write_ready(context))?;
            self.moved += pipe.drain(to)? as u64;
        }
        if self.full < FULL_BEFORE_PIPE {
            self.pipe = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the sender has into the shared buffer, and gives the receiver what it takes of it.
    fn copy(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let read = loop {
                ready!(self.from.poll_read_ready(context)).map_err(Broken::Sender)?;
                if let Some(read) = socket::read(self.from, scratch).map_err(Broken::Sender)? {
                    break read;
                }
            };
            let bytes = scratch.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            let written = socket::write(self.to, bytes).map_err(Broken::Receiver)?;
            self.moved += written as u64;
            let rest = bytes.get(written..).unwrap_or_default();
            if !rest.is_empty() {
                self.waiting = Some(Box::new(Waiting { bytes: rest.into(), gone: 0 }));
            }
            self.full = if read == SCRATCH { self.full.saturating_add(1) } else { 0 };
            Poll::Ready(Ok(()))
        })
    }
}

/// Fills an empty pipe.
fn fill(context: &mut Context<'_>, pipe: &mut Pipe, from: &TcpStream) -> Poll<io::Result<usize>> {
    loop {
        ready!(from.poll_read_ready(context))?;
        if let Some(filled) = pipe.fill(from)? {
            return Poll::Ready(Ok(filled));
        }
    }
}
