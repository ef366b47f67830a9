//! The older process's side.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::AsFd, unix::net::UnixListener as Named},
    time::Duration,
};

use common::listen::is_of_one_connection;
use rustix::process::geteuid;
use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::sleep,
};

use super::{Listening, message::send, name_of};

/// How long it rests when the system has no more descriptors.
const REST: Duration = Duration::from_millis(100);
/// How often a name is tried that somebody else has.
const RETRY: Duration = Duration::from_secs(10);

/// Gives newer processes what they ask for, as long as it is polled. Dropped, it closes the sockets here.
pub async fn serve(listening: Vec<Listening>) -> Infallible {
    let mut names = JoinSet::new();
    for Listening { address, socket, name, .. } in listening {
        names.spawn(serve_one(address, socket, name));
    }
    while names.join_next().await.is_some() {}
    std::future::pending().await
}

async fn serve_one(address: SocketAddr, socket: TcpListener, name: Option<Named>) -> Infallible {
    let name = match name.map(listener) {
        Some(Ok(name)) => name,
        _ => take(address).await,
    };
    // Each as long as it cares to know whether we still accept.
    let mut newer = JoinSet::new();
    loop {
        let asked = tokio::select! {
            asked = name.accept() => asked,
            Some(_) = newer.join_next() => continue,
        };
        match asked {
            Ok((asking, _)) => match give(&asking, &socket, &name) {
                Ok(()) => {
                    tracing::info!(%address, "a newer instance has this listening socket now, too");
                    newer.spawn(ended(asking));
                }
                Err(why) => {
                    tracing::warn!(%address, %why, "somebody asked for this listening socket and got nothing")
                }
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => sleep(REST).await,
        }
    }
}

/// Waits until the other side is gone: nothing is said on such a connection.
pub(super) async fn ended(mut stream: UnixStream) {
    let _ = stream.read(&mut [0]).await;
}

fn listener(name: Named) -> io::Result<UnixListener> {
    name.set_nonblocking(true)?;
    UnixListener::from_std(name)
}

/// The name, when whoever has it is gone.
async fn take(address: SocketAddr) -> UnixListener {
    let mut told = false;
    loop {
        match name_of(address).and_then(|name| Named::bind_addr(&name)).and_then(listener) {
            Ok(listener) => return listener,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(%address, %error, "newer instances can't ask for this listening socket: its name can't be bound; trying again");
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

/// Gives both sockets to whoever is this same user.
fn give(asking: &UnixStream, socket: &TcpListener, name: &UnixListener) -> io::Result<()> {
    let uid = asking.peer_cred()?.uid();
    if uid != geteuid().as_raw() {
        return Err(io::Error::other(format!("it is user {uid}")));
    }
    send(asking, [socket.as_fd(), name.as_fd()])
}
