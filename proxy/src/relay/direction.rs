//! One way of a connection.
//!
//! Bytes go through one buffer that all connections of a thread share: read, write, done. What the other side does not take
//! at once waits in memory of its own, and nothing more is read until it is gone. A direction in which nothing moves holds
//! nothing.

use std::{
    io,
    net::Shutdown,
    pin::{Pin, pin},
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
pub(super) struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    state: State,
    waiting: Option<Box<Waiting>>,
    /// Tells that the sender broke, while nothing is read from it.
    trouble: Option<Pin<Box<dyn Future<Output = io::Error> + Send + 'a>>>,
    /// All that has been moved.
    pub(super) moved: u64,
}

impl<'a> Direction<'a> {
    /// Begins with bytes that are there already, for the receiver.
    pub(super) fn new(from: &'a TcpStream, to: &'a TcpStream, early: Vec<u8>) -> Self {
        Self { from, to, state: State::Open, waiting: Waiting::new(early), trouble: None, moved: 0 }
    }

    /// Whether the sender has ended, and the receiver has everything.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Moves what there is to move; ready when the sender has ended and the receiver knows. Of the `last` direction the
    /// receiver learns it when the sockets are closed, which is about to happen.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, last: bool) -> Poll<Result<(), Broken>> {
        let mut left = TURN;
        while left > 0 {
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
            let copied = ready!(self.copy(context))?;
            left = left.saturating_sub(copied.max(TURN / PIECES));
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
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
        while !waiting.rest().is_empty() {
            ready!(self.to.poll_write_ready(context))?;
            let written = socket::write(self.to, waiting.rest(), false)?;
            waiting.advance(written);
            self.moved += written as u64;
        }
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    /// Takes what the sender has into the shared buffer, and gives the receiver what it takes of it: how much that was.
    fn copy(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        with_buffer(|buffer| {
            let read = loop {
                ready!(self.from.poll_read_ready(context)).map_err(Broken::Sender)?;
                if let Some(read) = socket::read(self.from, buffer).map_err(Broken::Sender)? {
                    break read;
                }
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(0));
            }
            // The last bytes and the end fit into one packet.
            let more = read < buffer.len() && has_closed(self.from, context);
            let written = socket::write(self.to, bytes, more).map_err(Broken::Receiver)?;
            self.moved += written as u64;
            self.waiting = Waiting::new(bytes.get(written..).unwrap_or_default());
            Poll::Ready(Ok(read))
        })
    }
}

/// Whether it is known already that nothing more comes from a socket.
fn has_closed(socket: &TcpStream, context: &mut Context<'_>) -> bool {
    // Mostly it isn't, and to ask that is cheaper.
    socket.poll_read_ready(context).is_ready()
        && matches!(pin!(socket.ready(Interest::READABLE)).poll(context), Poll::Ready(Ok(ready)) if ready.is_read_closed())
}
