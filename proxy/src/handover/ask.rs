//! The newer process's side.

use std::{
    ffi::OsStr,
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::UnixListener},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{Older, message::receive, name_of};

/// What came of asking.
#[derive(Debug)]
pub(super) enum Answer {
    /// The socket that listens, that of the name, and who gave them.
    Sockets(TcpListener, UnixListener, Older),
    /// Nobody is there, or not any more.
    Nobody,
    /// Nothing that could be used, and why.
    No(String),
}

/// Asks for the socket of an address.
pub(super) fn ask(address: SocketAddr, deadline: Instant) -> Answer {
    match asked(address, deadline) {
        Ok(answer) => answer,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Answer::Nobody,
            // A time limit of a socket shows as EAGAIN.
            io::ErrorKind::WouldBlock => {
                Answer::No("an older instance has it and does not answer; it may hang".to_owned())
            }
            _ => Answer::No(format!("asking an older instance failed: {error}")),
        },
    }
}

fn asked(address: SocketAddr, deadline: Instant) -> io::Result<Answer> {
    let name = name_of(address)?;
    let bytes = [b"\0", name.as_abstract_name().unwrap_or_default()].concat();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // For connect(2) as well, which waits where the queue is full.
    socket.set_write_timeout(Some(left(deadline)))?;
    socket.connect(&SockAddr::unix(OsStr::from_bytes(&bytes))?)?;
    // Not by rustix, which takes the process's number for one above 0: an older one in another container has none here, and
    // what came out was an error that nobody had made.
    let (theirs, ours) = (getsockopt(&socket, PeerCredentials)?.uid(), geteuid().as_raw());
    if theirs != ours {
        let why = format!("a process of user {theirs} has the name for it, and this is user {ours}");
        return Ok(Answer::No(why));
    }
    socket.set_read_timeout(Some(left(deadline)))?;
    let Some([listening, named]) = receive(&socket)? else { return Ok(Answer::Nobody) };
    Ok(match checked(address, listening, named) {
        Some((listening, named)) => Answer::Sockets(listening, named, Older(socket.into())),
        None => Answer::No(format!("an older instance answered with another socket than that of {address}")),
    })
}

/// Never zero, which would mean without limit.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Both, if they are what was asked for.
fn checked(address: SocketAddr, listening: OwnedFd, named: OwnedFd) -> Option<(TcpListener, UnixListener)> {
    let is = |socket: &OwnedFd, protocol: Option<Protocol>| {
        let socket = SockRef::from(socket);
        socket.is_listener().unwrap_or_default()
            && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
            && (protocol.is_none() || socket.protocol().is_ok_and(|found| found == protocol))
    };
    if !is(&listening, Some(Protocol::TCP)) || !is(&named, None) {
        return None;
    }
    let (listening, named) = (TcpListener::from(listening), UnixListener::from(named));
    let has_address = listening.local_addr().is_ok_and(|found| found == address);
    let wanted = name_of(address).ok()?;
    let has_name =
        named.local_addr().is_ok_and(|found| found.as_abstract_name() == wanted.as_abstract_name());
    (has_address && has_name).then_some((listening, named))
}
