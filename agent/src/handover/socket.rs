//! Abstract Unix sockets: binding a name, and asking who has bound one. Source: unix(7).

use std::{
    io,
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
    },
};

/// Who has bound a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody, or nobody who listens.
    Gone,
    /// A process, as it was when it began to listen.
    Process {
        /// Its effective user.
        uid: u32,
        /// Its id here; 0 in another pid namespace.
        pid: i32,
    },
    /// Somebody, but the kernel does not say who: the queue of connections is full, or a security module
    /// intervened.
    Unknown,
}

/// Binds a name and listens, so that others can see whose it is. Nobody has to accept: what waits in the queue
/// goes away together with the socket. It is not handed on to programs that are started.
pub(super) fn bind(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Asks who has bound a name; never waits. Fails only when a socket can't be had or asked.
pub(super) fn holder(name: &str) -> io::Result<Holder> {
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &address) {
        Ok(()) => {
            // Of an abstract name these are its listener's credentials, and no descriptor needs to be accepted.
            let peer = getsockopt(&socket, PeerCredentials)?;
            Ok(Holder::Process { uid: peer.uid(), pid: peer.pid() })
        }
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(Holder::Gone),
        Err(_) => Ok(Holder::Unknown),
    }
}
