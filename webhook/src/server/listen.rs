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
};

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
