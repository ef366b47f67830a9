//! One connection, from its acceptance to its end.

use std::{future::poll_fn, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    connect::{acknowledge, connect},
    counters::{Counters, Outcome},
    endpoint::Occupied,
    greet::{NotGreeted, greet},
    protocol::{Protocol, Route},
    relay::{End, Relay, broken, reset},
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

impl Ended {
    /// Before a byte was moved.
    fn before_it_began(outcome: Outcome, why: String, endpoint: Option<SocketAddr>) -> Self {
        Self { outcome, why: Some(why), endpoint, moved: (0, 0) }
    }
}

/// Serves a client to its end. What is awaited here exists for each connection as long as it lives, so it is small:
/// things are lent, and what is needed only at first is in a box.
pub async fn serve(shared: &Shared, counters: &Counters, client: &TcpStream, peer: &SocketAddr) {
    let (settings, begun) = (shared.settings.load_full(), Instant::now());
    let mut established = Box::pin(establish(shared, counters, &settings, client, *peer)).await;
    let ended = match &mut established {
        Ok(established) => carry(shared, counters, &settings, client, established).await,
        Err(ended) => {
            // An orderly end would look like an empty answer.
            reset(client);
            Ended { why: ended.why.take(), ..*ended }
        }
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

/// Finds the other side, for as long as the client is there.
async fn establish(
    shared: &Shared,
    counters: &Counters,
    settings: &Arc<Settings>,
    client: &TcpStream,
    peer: SocketAddr,
) -> Result<Established, Ended> {
    tokio::select! {
        biased;
        established = reach(shared, counters, settings, client, peer) => established,
        error = broken(client) => {
            Err(Ended::before_it_began(Outcome::Client, error.to_string(), None))
        }
    }
}

async fn reach(
    shared: &Shared,
    counters: &Counters,
    settings: &Arc<Settings>,
    client: &TcpStream,
    peer: SocketAddr,
) -> Result<Established, Ended> {
    let failed = Ended::before_it_began;
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

/// An endpoint's side of a connection.
struct Established {
    upstream: TcpStream,
    occupied: Occupied,
    /// What came with the answer to a CONNECT.
    early: Vec<u8>,
}

/// Moves bytes until both sides are done, somebody breaks it, or it has to end.
async fn carry(
    shared: &Shared,
    counters: &Counters,
    settings: &Settings,
    client: &TcpStream,
    Established { upstream, occupied, early }: &mut Established,
) -> Ended {
    let endpoint = occupied.endpoint();
    let mut relay = Relay::new(client, upstream, std::mem::take(early));
    let mut counted = (0, 0);
    let mut has_to_end = pin!(has_to_end(shared, occupied));
    let (failures, mut is_watched) = (endpoint.failures(), false);
    let mut idle = settings.idle_timeout.map(|idle| Box::pin(sleep(idle / IDLE_LOOKS)));
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
            && let Some(timer) = &mut idle
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
        // All connections of an endpoint share what this looks at, behind a lock.
        if is_watched && endpoint.failures() == failures {
            return Poll::Pending;
        }
        if !is_watched && moved.0 == 0 {
            acknowledge(upstream);
        }
        is_watched = true;
        has_to_end.as_mut().poll(context).map(|why| (Outcome::Closed, Some(why.to_owned())))
    })
    .await;
    if outcome == Outcome::Closed {
        relay.reset();
    }
    Ended { outcome, why, endpoint: Some(endpoint.address), moved: relay.moved() }
}

/// Waits until the endpoint has failed and there is a better one.
pub async fn has_to_end(shared: &Shared, occupied: &Occupied) -> &'static str {
    let endpoint = occupied.endpoint();
    let changed = endpoint.changed();
    loop {
        let told = changed.notified();
        if shared.should_leave(endpoint) {
            if !endpoint.refuses() {
                // In a box, since few have to.
                Box::pin(sleep(SPREAD.mul_f64(fastrand::f64()))).await;
            }
            if shared.should_leave(endpoint) {
                return "its endpoint has failed";
            }
        }
        told.await;
    }
}
