//! Reads and writes of a socket that blocks nobody.
//!
//! Where a socket gives or takes less than it could, it has no more: asking it once more would only say so. Its readiness
//! is cleared at once, and the next event sets it (epoll(7), "edge-triggered", second question).

use std::io;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::{io::Interest, net::TcpStream};

/// What there is to read, 0 at the end; none if there is nothing at the moment.
pub(super) fn read(from: &TcpStream, into: &mut [u8]) -> io::Result<Option<usize>> {
    let most = into.len();
    once(from, Interest::READABLE, most, || Ok(recv(from, &mut *into, RecvFlags::empty())?.1))
}

/// As much as it takes at the moment. With `more` to come the kernel waits for that, an end included, to fill a packet.
pub(super) fn write(to: &TcpStream, bytes: &[u8], more: bool) -> io::Result<usize> {
    let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
    let sent = once(to, Interest::WRITABLE, bytes.len(), || send(to, bytes, flags))?;
    Ok(sent.unwrap_or_default())
}

/// Does something with a socket that is ready. One that moves less than `most` leaves it not ready.
fn once(
    socket: &TcpStream,
    interest: Interest,
    most: usize,
    mut action: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<Option<usize>> {
    let mut moved = None;
    let done = socket.try_io(interest, || {
        let all = loop {
            match action() {
                Err(rustix::io::Errno::INTR) => {}
                done => break done?,
            }
        };
        moved = Some(all);
        if (1..most).contains(&all) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match done {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(moved),
    }
}

/// Waits until a socket breaks, whether anybody reads from it or not.
pub async fn broken(socket: &TcpStream) -> io::Error {
    match socket.ready(Interest::ERROR).await.and_then(|_| socket.take_error()) {
        // Somebody else was told what it was.
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
        Ok(Some(error)) | Err(error) => error,
    }
}
