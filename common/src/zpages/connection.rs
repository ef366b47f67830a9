//! Connections: accepted, limited, answered.

use std::{convert::Infallible, io, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinSet,
};

use super::unix;
use crate::{listen::is_of_one_connection, sparing::Sparing};

/// How long to wait when the process or the machine has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What clients may use up. Those who come here are few and known (kubelet, a scraper, a person); others must not
/// take the program's memory or file descriptors.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once; further ones are closed at once.
    pub(super) connections: usize,
    /// How long the head of a request may take, the wait for it included.
    pub(super) head_time: Duration,
    /// How long a connection may last, whatever happens on it.
    pub(super) connection_time: Duration,
    /// The longest head of a request, in bytes.
    pub(super) head_bytes: usize,
}

pub(super) const LIMITS: Limits = Limits {
    connections: 32,
    head_time: Duration::from_secs(5),
    connection_time: Duration::from_secs(30),
    head_bytes: 16 * 1024,
};

/// What both kinds of listeners do.
pub(super) trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Answers are small and complete: never hold them back. A socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.accept().await?;
            // Nobody else gets to a path; to an abstract name everybody does.
            if stream.peer_cred().is_ok_and(|peer| unix::is_ours(peer.uid())) {
                return Ok(stream);
            }
        }
    }
}

/// Serves whoever connects, for as long as it is polled; when it is dropped, all connections end.
pub(super) async fn accept(listener: impl Listener, router: Router, limits: Limits) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(stream) if connections.len() < limits.connections => {
                connections.spawn(serve(stream, router.clone(), limits));
            }
            Ok(_) => {
                static LINES: Sparing = Sparing::new();
                if let Some(left_out) = LINES.turn() {
                    let limit = limits.connections;
                    tracing::warn!(limit, left_out, "too many connections for the health pages; one closed");
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                static LINES: Sparing = Sparing::new();
                if let Some(left_out) = LINES.turn() {
                    tracing::error!(%error, left_out, "cannot accept connections for the health pages; waiting");
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn serve<S>(stream: S, router: Router, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(limits.connection_time, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection for the health pages failed"),
        Err(_) => tracing::debug!("connection for the health pages took too long"),
    }
}
