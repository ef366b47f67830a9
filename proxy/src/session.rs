//! One connection, from its acceptance to its end.

use std::{future::poll_fn, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    connect::{connect, tune},
    counters::{Counters, Outcome},
    endpoint::Occupied,
    greet::{NotGreeted, greet},
    protocol::{Protocol, Route},
    relay::{End, Relay},
    shared::{AccessLog, Settings, Shared},
};

/// Over how long connections to an endpoint that only seems to fail are closed, so that not all clients come back at
/// once.
const SPREAD: Duration = Duration::from_secs(10);
/// How often a connection is looked at while `--idle-timeout` runs.
const IDLE_LOOKS: u32 = 4;

/// What was learned on the way to an end.
struct Ended {
    outcome: Outcome,
    /// Why, where it did not end well.
    why: Option<String>,
    endpoint: Option<SocketAddr>,
    moved: (u64, u64),
}

/// Serves a client to its end.
pub async fn serve(shared: &Shared, counters: &Counters, client: TcpStream, peer: SocketAddr) {
    let (settings, begun) = (shared.settings.load_full(), Instant::now());
    // In a box, so that a connection that lives long is small.
    let ended = match Box::pin(establish(shared, counters, &settings, client, peer)).await {
        Ok((relay, occupied)) => carry(shared, counters, &settings, relay, &occupied).await,
        Err(ended) => ended,
    };
    counters.ended(ended.outcome);
    counters.lasted.observe(begun.elapsed());
    let log = match settings.access_log {
        AccessLog::Off => false,
        AccessLog::Errors => ended.outcome != Outcome::Ok,
        AccessLog::All => true,
    };
    if log {
        tracing::info!(
            client = %peer,
            endpoint = ended.endpoint.map(tracing::field::display),
            outcome = ended.outcome.name(),
            why = ended.why,
            sent = ended.moved.0,
            received = ended.moved.1,
            seconds = begun.elapsed().as_secs_f64(),
            "connection ended"
        );
    }
}

async fn establish(
    shared: &Shared,
    counters: &Counters,
    settings: &Arc<Settings>,
    client: TcpStream,
    peer: SocketAddr,
) -> Result<(Relay, Occupied), Ended> {
    tune(&client, settings);
    let failed = |outcome, why: String, endpoint| Ended { outcome, why: Some(why), endpoint, moved: (0, 0) };
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
    Ok((Relay::new(client, upstream, early), occupied))
}

/// Moves bytes until both sides are done, somebody breaks it, or it has to end.
async fn carry(
    shared: &Shared,
    counters: &Counters,
    settings: &Settings,
    mut relay: Relay,
    occupied: &Occupied,
) -> Ended {
    let mut counted = (0, 0);
    let mut has_to_end = pin!(has_to_end(shared, occupied));
    let mut idle = pin!(settings.idle_timeout.map(|idle| sleep(idle / IDLE_LOOKS)));
    let (mut looks, mut seen) = (0, (0, 0));
    let (outcome, why) = poll_fn(|context| {
        let polled = relay.poll(context);
        let moved = relay.moved();
        if moved != counted {
            let [sent, received] = &counters.bytes;
            sent.fetch_add(moved.0 - counted.0, std::sync::atomic::Ordering::Relaxed);
            received.fetch_add(moved.1 - counted.1, std::sync::atomic::Ordering::Relaxed);
            counted = moved;
        }
        if let Poll::Ready(end) = polled {
            return Poll::Ready(match end {
                End::Done => (Outcome::Ok, None),
                End::Client(error) => (Outcome::Client, Some(error.to_string())),
                End::Upstream(error) => (Outcome::Upstream, Some(error.to_string())),
            });
        }
        if let Some(wait) = settings.idle_timeout
            && let Some(mut timer) = idle.as_mut().as_pin_mut()
            && timer.as_mut().poll(context).is_ready()
        {
            looks = if moved == seen { looks + 1 } else { 0 };
            seen = moved;
            if looks >= IDLE_LOOKS {
                return Poll::Ready((Outcome::Idle, None));
            }
            timer.as_mut().reset(Instant::now() + wait / IDLE_LOOKS);
            context.waker().wake_by_ref();
        }
        has_to_end.as_mut().poll(context).map(|why| (Outcome::Closed, Some(why.to_owned())))
    })
    .await;
    if outcome == Outcome::Closed {
        relay.reset();
    }
    Ended { outcome, why, endpoint: Some(occupied.endpoint().address), moved: relay.moved() }
}

/// Waits until the endpoint has failed and there is a better one.
pub async fn has_to_end(shared: &Shared, occupied: &Occupied) -> &'static str {
    let endpoint = occupied.endpoint();
    let changed = endpoint.changed();
    loop {
        let told = changed.notified();
        if shared.should_leave(endpoint) {
            if !endpoint.refuses() {
                sleep(SPREAD.mul_f64(fastrand::f64())).await;
            }
            if shared.should_leave(endpoint) {
                return "its endpoint has failed";
            }
        }
        told.await;
    }
}
