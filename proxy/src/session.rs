//! One connection, from its acceptance to its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    carry::{Ended, carry},
    connect::connect,
    counters::{Counters, Outcome},
    endpoint::Occupied,
    greet::{NotGreeted, greet},
    protocol::{Protocol, Route},
    relay::{broken, reset},
    shared::{AccessLog, Settings, Shared},
};

/// Serves a client to its end. What is kept here while it is carried is small, and what is needed only before is in a box.
#[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
pub fn serve<'a>(
    shared: &'a Shared,
    counters: &'a Counters,
    client: &'a TcpStream,
    peer: &'a SocketAddr,
) -> impl Future<Output = ()> + Send + 'a {
    async move {
        let (settings, begun) = (shared.settings.load_full(), Instant::now());
        // In a block, at whose end the result is gone, and not only what is taken from it.
        let (upstream, occupied, early) = {
            match Box::pin(establish(shared, counters, &settings, client, *peer)).await {
                Ok(Established { upstream, occupied, early }) => (upstream, occupied, early),
                Err(NotEstablished { outcome, why, endpoint }) => {
                    // An orderly end would look like an empty answer.
                    reset(client);
                    let ended = Ended { outcome, why: Some(why), moved: (0, 0) };
                    return report(counters, settings.access_log, peer, begun.elapsed(), endpoint, &ended);
                }
            }
        };
        let ended = carry(shared, counters, &settings, client, (&upstream, &occupied), early).await;
        let endpoint = Some(occupied.endpoint().address);
        report(counters, settings.access_log, peer, begun.elapsed(), endpoint, &ended);
    }
}

/// Counts and logs what has become of a connection.
fn report(
    counters: &Counters,
    log: AccessLog,
    peer: &SocketAddr,
    lasted: Duration,
    endpoint: Option<SocketAddr>,
    ended: &Ended,
) {
    counters.ended(ended.outcome);
    counters.lasted.observe(lasted);
    let log = match log {
        AccessLog::Off => false,
        AccessLog::Errors => ended.outcome != Outcome::Ok,
        AccessLog::All => true,
    };
    if log {
        tracing::info!(
            client = %peer,
            endpoint = endpoint.map(tracing::field::display),
            outcome = ended.outcome.name(),
            why = ended.why,
            sent = ended.moved.0,
            received = ended.moved.1,
            seconds = lasted.as_secs_f64(),
            "connection ended"
        );
    }
}

/// An endpoint's side of a connection.
struct Established {
    upstream: TcpStream,
    occupied: Occupied,
    /// What came with the answer to a CONNECT.
    early: Vec<u8>,
}

/// Why there is none.
struct NotEstablished {
    outcome: Outcome,
    why: String,
    /// Where it was tried.
    endpoint: Option<SocketAddr>,
}

/// Finds the other side, for as long as the client is there.
async fn establish(
    shared: &Shared,
    counters: &Counters,
    settings: &Arc<Settings>,
    client: &TcpStream,
    peer: SocketAddr,
) -> Result<Established, NotEstablished> {
    tokio::select! {
        biased;
        established = reach(shared, counters, settings, client, peer) => established,
        error = broken(client) => {
            Err(NotEstablished { outcome: Outcome::Client, why: error.to_string(), endpoint: None })
        }
    }
}

async fn reach(
    shared: &Shared,
    counters: &Counters,
    settings: &Arc<Settings>,
    client: &TcpStream,
    peer: SocketAddr,
) -> Result<Established, NotEstablished> {
    let failed = |outcome, why, endpoint| NotEstablished { outcome, why, endpoint };
    let mut random = fastrand::Rng::new();
    let connected = connect(shared, counters, settings, &mut random).await;
    let (mut upstream, occupied) =
        connected.map_err(|error| failed(Outcome::Unreachable, error.to_string(), None))?;
    let endpoint = Some(occupied.endpoint().address);
    let early = match &settings.protocol {
        Protocol::Tcp => Vec::new(),
        protocol => {
            let destination =
                client.local_addr().map_err(|error| failed(Outcome::Client, error.to_string(), endpoint))?;
            let greeting = protocol.greeting(Some(Route::new(peer, destination)));
            let greeted = timeout(settings.connect_timeout, greet(&mut upstream, &greeting, protocol)).await;
            let late = |_| failed(Outcome::Refused, "no answer to CONNECT in time".to_owned(), endpoint);
            greeted.map_err(late)?.map_err(|error| match error {
                NotGreeted::Refused(status) => {
                    counters.refused(status);
                    failed(Outcome::Refused, error.to_string(), endpoint)
                }
                NotGreeted::Broken(error) => failed(Outcome::Upstream, error.to_string(), endpoint),
                error => failed(Outcome::Refused, error.to_string(), endpoint),
            })?
        }
    };
    shared.note_answer();
    Ok(Established { upstream, occupied, early })
}
