//! Binding a listener.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

const BACKLOG: i32 = 1024;

/// Binds `host`, a name or an address, or all addresses of both families where it is empty. `flag` says in an
/// error where the address came from.
pub(super) async fn bind(host: &str, port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    if host.is_empty() {
        let both = listen((Ipv6Addr::UNSPECIFIED, port).into());
        let bound = match both {
            // A machine without IPv6.
            Err(error) if error.raw_os_error() == Some(AFNOSUPPORT) => listen(([0, 0, 0, 0], port).into()),
            bound => bound,
        };
        return bound.with_context(|| format!("cannot listen on port {port} ({flag})"));
    }
    let context = || format!("cannot listen on {host}:{port} ({flag})");
    let addresses = tokio::net::lookup_host((host, port)).await.with_context(context)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last).with_context(context)
}

/// EAFNOSUPPORT of Linux.
const AFNOSUPPORT: i32 = 97;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 as well, whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
