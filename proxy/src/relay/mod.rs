//! A connection that has its endpoint: bytes both ways, until both have ended.
//!
//! What one side does, the other side sees: the end of what it sends (a half-close), and a reset.

mod direction;
mod scratch;
mod socket;

use std::{
    io,
    sync::atomic::AtomicU64,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::net::TcpStream;

use self::direction::{Broken, Direction, Way};
pub use self::socket::broken;

/// How a connection came to its end.
#[derive(Debug)]
pub enum End {
    /// Both sides were done.
    Done,
    /// The client broke it.
    Client(io::Error),
    /// The API server broke it, or the way there.
    Upstream(io::Error),
}

/// Bytes between a connection and its other half.
pub struct Relay<'a> {
    client: &'a TcpStream,
    upstream: &'a TcpStream,
    out: Direction<'a>,
    back: Direction<'a>,
}

impl<'a> Relay<'a> {
    /// Of two connected sockets. `early` are bytes from upstream that came with the answer to a CONNECT.
    #[must_use]
    pub fn new(client: &'a TcpStream, upstream: &'a TcpStream, early: Vec<u8>) -> Self {
        Self { client, upstream, out: Direction::new(Vec::new()), back: Direction::new(early) }
    }

    /// Bytes moved so far: from the client, and to the client.
    #[must_use]
    pub fn moved(&self) -> (u64, u64) {
        (self.out.moved, self.back.moved)
    }

    /// Moves what can be moved, and counts it: from the client, and to the client. When it is over, and somebody broke it,
    /// the other side is reset as well. Both sockets are to be closed then, which is how the side that ended first learns
    /// of the other's end.
    pub fn poll(&mut self, context: &mut Context<'_>, [sent, received]: &[AtomicU64; 2]) -> Poll<End> {
        let (client, upstream) = (self.client, self.upstream);
        let of_out = {
            let last = self.back.has_ended();
            self.out.poll(context, &Way { from: client, to: upstream, last, count: sent })
        };
        let of_back = {
            let last = self.out.has_ended();
            self.back.poll(context, &Way { from: upstream, to: client, last, count: received })
        };
        let end = match (of_out, of_back) {
            (Poll::Ready(Err(Broken::Sender(error))), _) => End::Client(error),
            (Poll::Ready(Err(Broken::Receiver(error))), _) => End::Upstream(error),
            (_, Poll::Ready(Err(Broken::Sender(error)))) => End::Upstream(error),
            (_, Poll::Ready(Err(Broken::Receiver(error)))) => End::Client(error),
            _ if self.out.has_ended() && self.back.has_ended() => return Poll::Ready(End::Done),
            _ => return Poll::Pending,
        };
        self.reset();
        Poll::Ready(end)
    }

    /// Both sides get a reset when they are closed, and not an orderly end.
    pub fn reset(&self) {
        reset(self.client);
        reset(self.upstream);
    }
}

/// A reset is what the other side gets when this socket is closed, and not an orderly end.
pub fn reset(socket: &TcpStream) {
    // One that is gone needs none.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
