//! One way of a connection.
//!
//! Bytes go through one buffer that all connections of a thread share: read, write, done. What the other side does not take
//! at once waits in memory of its own, and nothing more is read until it is gone. A direction in which nothing moves holds
//! nothing.

use std::{
    io,
    net::Shutdown,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

use super::{
    scratch::{MOST, Waiting, with_buffer},
    socket::{self, broken},
};

/// What one direction moves before others have their turn, in bytes. However few there are to read, it counts as one of
/// [`PIECES`].
const TURN: usize = MOST;
const PIECES: usize = 16;

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

/// From one socket to another.
pub(super) struct Way<'a, 'c> {
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    /// Whether the other direction has ended.
    pub(super) last: bool,
    /// Where bytes are counted.
    pub(super) count: &'c AtomicU64,
}

/// What is to be known of it, always with the same [`Way`].
pub(super) struct Direction<'a> {
    state: State,
    waiting: Option<Box<Waiting>>,
    /// Tells that the sender broke, while nothing is read from it.
    trouble: Option<Pin<Box<dyn Future<Output = io::Error> + Send + 'a>>>,
    /// All that has been moved.
    pub(super) moved: u64,
}

impl<'a> Direction<'a> {
    /// Begins with bytes that are there already, for the receiver.
    pub(super) fn new(early: Vec<u8>) -> Self {
        Self { state: State::Open, waiting: Waiting::new(early), trouble: None, moved: 0 }
    }

    /// Whether the sender has ended, and the receiver has everything.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Moves what there is to move; ready when the sender has ended and the receiver knows. Of the last direction the
    /// receiver learns it when the sockets are closed, which is about to happen.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, way: &Way<'a, '_>) -> Poll<Result<(), Broken>> {
        let mut left = TURN;
        while left > 0 {
            if self.state == State::Ended {
                return Poll::Ready(self.look_at_sender(context, way.from));
            }
            match self.deliver(context, way) {
                Poll::Ready(delivered) => {
                    delivered.map_err(Broken::Receiver)?;
                    self.trouble = None;
                }
                Poll::Pending => {
                    self.look_at_sender(context, way.from)?;
                    return Poll::Pending;
                }
            }
            if self.state == State::Ending {
                if !way.last {
                    SockRef::from(way.to).shutdown(Shutdown::Write).map_err(Broken::Receiver)?;
                }
                self.state = State::Ended;
                continue;
            }
            let copied = ready!(self.copy(context, way))?;
            left = left.saturating_sub(copied.max(TURN / PIECES));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Looks at a sender from which nothing is read at the moment: that it broke would be noticed too late or never.
    fn look_at_sender(&mut self, context: &mut Context<'_>, from: &'a TcpStream) -> Result<(), Broken> {
        let trouble = self.trouble.get_or_insert_with(|| Box::pin(broken(from)));
        match trouble.as_mut().poll(context) {
            Poll::Ready(error) => Err(Broken::Sender(error)),
            Poll::Pending => Ok(()),
        }
    }

    /// Gives the receiver what waits for it.
    fn deliver(&mut self, context: &mut Context<'_>, way: &Way<'_, '_>) -> Poll<io::Result<()>> {
        while let Some(waiting) = self.waiting.as_mut().filter(|waiting| !waiting.rest().is_empty()) {
            ready!(way.to.poll_write_ready(context))?;
            let written = socket::write(way.to, waiting.rest(), false)?;
            waiting.advance(written);
            self.count(written, way);
        }
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    /// Takes what the sender has into the shared buffer, and gives the receiver what it takes of it: how much that was.
    fn copy(&mut self, context: &mut Context<'_>, way: &Way<'_, '_>) -> Poll<Result<usize, Broken>> {
        with_buffer(|buffer| {
            let read = loop {
                ready!(way.from.poll_read_ready(context)).map_err(Broken::Sender)?;
                if let Some(read) = socket::read(way.from, buffer).map_err(Broken::Sender)? {
                    break read;
                }
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(0));
            }
            // The last bytes and the end fit into one packet.
            let more = read < buffer.len() && has_ended(way.from, context);
            let written = socket::write(way.to, bytes, more).map_err(Broken::Receiver)?;
            self.count(written, way);
            self.waiting = Waiting::new(bytes.get(written..).unwrap_or_default());
            Poll::Ready(Ok(read))
        })
    }

    fn count(&mut self, written: usize, way: &Way<'_, '_>) {
        self.moved += written as u64;
        way.count.fetch_add(written as u64, Ordering::Relaxed);
    }
}

/// Whether it is known already that an orderly end comes next from a socket. A reset would take with it what the kernel
/// was told to hold back.
fn has_ended(socket: &TcpStream, context: &mut Context<'_>) -> bool {
    // Mostly nothing is, and to ask that is cheaper.
    if socket.poll_read_ready(context).is_pending() {
        return false;
    }
    match pin!(socket.ready(Interest::READABLE | Interest::ERROR)).poll(context) {
        Poll::Ready(Ok(ready)) => ready.is_read_closed() && !ready.is_error(),
        _ => false,
    }
}
