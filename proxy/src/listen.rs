//! The sockets that clients reach.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait for somebody to accept them. The kernel takes `net.core.somaxconn` if that is less.
const BACKLOG: i32 = 4096;

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody has it.
    #[error("cannot listen on {0}: another program does already; is there another proxy on this node?")]
    Taken(SocketAddr),
    /// Not permitted.
    #[error(
        "cannot listen on {0}: ports below 1024 need CAP_NET_BIND_SERVICE, as a capability of the file for any user but root"
    )]
    Denied(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, #[source] io::Error),
}

/// Listens on an address that need not be there yet (IP_FREEBIND, ip(7)): whoever puts it in place may come later.
///
/// # Errors
/// Says what is in the way.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_freebind_v6(true)?;
            // `[::]` is for IPv4 as well.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        } else {
            socket.set_freebind_v4(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    bound().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        _ => ListenError::Other(address, error),
    })
}
