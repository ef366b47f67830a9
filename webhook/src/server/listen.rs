//! Binding a listener, and accepting on it.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::{
    Phase,
    connection::{self, Service},
};
use crate::sparing::Sparing;

const BACKLOG: i32 = 1024;
/// How long to wait when the process or the machine has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How long a listener that closes takes connections out of its queue.
const LAST_LOOK: Duration = Duration::from_millis(20);

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

/// Accepts and serves until the phase is [`Phase::Closing`] and the queue is empty; the connections go on by
/// themselves, each with a receiver of the phase.
pub(super) async fn accept(listener: TcpListener, service: Service) {
    let mut phase = service.stage.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let phase = service.stage.subscribe();
                tokio::spawn(connection::serve(stream, peer, service.clone(), phase));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                static LINES: Sparing = Sparing::new();
                if let Some(left_out) = LINES.turn() {
                    tracing::error!(%error, left_out, "cannot accept connections; waiting");
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    // The kernel has accepted these already; closing the listener would reset them. Not until there are none: under
    // load there are always more.
    let last_look = async {
        while let Ok((stream, peer)) = listener.accept().await {
            let phase = service.stage.subscribe();
            tokio::spawn(connection::serve(stream, peer, service.clone(), phase));
        }
    };
    let _ = tokio::time::timeout(LAST_LOOK, last_look).await;
}

/// Errors of accept(2) that are about the connection, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
