//! Binding a listener, and accepting on it.

use std::time::Duration;

use anyhow::Context;
use common::{
    listen::{HostPort, is_of_one_connection},
    sparing::Sparing,
};
use tokio::net::TcpListener;

use super::{
    Phase,
    connection::{self, Service},
    places::Places,
};

/// Connections at once. Each costs up to 100 KiB of buffers.
const CONNECTIONS: usize = 1000;

/// How long to wait when the process or the machine has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How long a listener that closes takes connections out of its queue.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Binds an address. `flag` says in an error where it came from.
pub(super) async fn bind(address: &HostPort, flag: &str) -> anyhow::Result<TcpListener> {
    address.bind().await.with_context(|| format!("cannot listen on {address} ({flag})"))
}

/// Accepts and serves until the phase is [`Phase::Closing`] and the queue is empty; the connections go on by
/// themselves, each with a receiver of the phase.
pub(super) async fn accept(listener: TcpListener, service: Service) {
    accept_up_to(CONNECTIONS, listener, service).await;
}

async fn accept_up_to(connections: usize, listener: TcpListener, service: Service) {
    let (places, mut state) = (Places::new(connections), service.stage.subscribe());
    let next = async || {
        let place = places.take(&service.stage).await;
        let (stream, peer) = listener.accept().await?;
        let state = service.stage.subscribe();
        tokio::spawn(connection::serve(stream, peer, service.clone(), state, place));
        Ok::<_, std::io::Error>(())
    };
    loop {
        let served = tokio::select! {
            served = next() => served,
            _ = state.wait_for(|state| state.phase == Phase::Closing) => break,
        };
        match served {
            Err(error) if !is_of_one_connection(&error) => {
                static LINES: Sparing = Sparing::new();
                if let Some(left_out) = LINES.turn() {
                    tracing::error!(%error, left_out, "cannot accept connections; waiting");
                }
                service.stage.crowd(true);
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
                service.stage.crowd(false);
            }
            _ => {}
        }
    }
    // The kernel has accepted these already; closing the listener would reset them. Not until there are none: under
    // load there are always more.
    let last_look = async { while next().await.as_ref().err().is_none_or(is_of_one_connection) {} };
    let _ = tokio::time::timeout(LAST_LOOK, last_look).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::Instant,
    };

    use super::*;
    use crate::server::Stage;

    #[tokio::test]
    async fn whoever_only_holds_a_connection_keeps_nobody_out() {
        let listener = bind(&"127.0.0.1:0".parse().unwrap(), "").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = get(async || tokio::time::sleep(Duration::from_secs(4)).await);
        let router = Router::new().route("/", get("here")).route("/slow", slow);
        let service = Service { certificates: None, router, stage: Arc::new(Stage::new()) };
        tokio::spawn(accept_up_to(3, listener, service));

        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            stream
        };
        let begun = Instant::now();
        let mut busy = ask("/slow").await;
        let mut idle = [TcpStream::connect(address).await.unwrap(), ask("/").await];
        let mut next = ask("/").await;
        let mut answer = [0; 12];
        next.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        assert!(begun.elapsed() >= Duration::from_secs(1), "not at once");
        for stream in &mut idle {
            let mut rest = Vec::new();
            tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
                .await
                .unwrap()
                .unwrap();
        }
        busy.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200", "it had something to do");
    }
}
