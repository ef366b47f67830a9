//! A connection that has its endpoint: bytes both ways, until both have ended.
//!
//! What one side does, the other side sees: the end of what it sends (a half-close), and a reset.

mod direction;
mod pipe;

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::net::TcpStream;

use self::direction::{Broken, Direction};

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

/// A connection and its other half.
#[derive(Debug)]
pub struct Relay {
    client: TcpStream,
    upstream: TcpStream,
    out: Direction,
    back: Direction,
}

impl Relay {
    /// Of two connected sockets. `early` are bytes from upstream that came with the answer to a CONNECT.
    #[must_use]
    pub fn new(client: TcpStream, upstream: TcpStream, early: Vec<u8>) -> Self {
        Self { client, upstream, out: Direction::new(), back: Direction::after(early) }
    }

    /// Bytes moved so far: from the client, and to the client.
    #[must_use]
    pub fn moved(&self) -> (u64, u64) {
        (self.out.moved, self.back.moved)
    }

    /// Moves what can be moved. When it is over, and somebody broke it, the other side is reset as well.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let Self { client, upstream, out, back } = self;
        let of_out = out.poll(context, client, upstream);
        let of_back = back.poll(context, upstream, client);
        let end = match (of_out, of_back) {
            (Poll::Ready(Err(Broken::Sender(error))), _) => End::Client(error),
            (Poll::Ready(Err(Broken::Receiver(error))), _) => End::Upstream(error),
            (_, Poll::Ready(Err(Broken::Sender(error)))) => End::Upstream(error),
            (_, Poll::Ready(Err(Broken::Receiver(error)))) => End::Client(error),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Done),
            _ => return Poll::Pending,
        };
        self.reset();
        Poll::Ready(end)
    }

    /// Both sides get a reset when this is dropped, and not an orderly end.
    pub fn reset(&self) {
        for socket in [&self.client, &self.upstream] {
            // One that is gone needs none.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// To its end.
    pub async fn run(&mut self) -> End {
        poll_fn(|context| self.poll(context)).await
    }
}
