//! A connection that has its endpoint, until both sides are done, somebody breaks it, or it has to end.
//!
//! What is here exists for each connection as long as it lives, and most of them do nothing most of the time: so it is
//! small.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use crate::{
    connect::acknowledge,
    counters::{Counters, Outcome},
    endpoint::{Endpoint, Occupied},
    relay::{End, Relay},
    shared::{Settings, Shared},
};

/// Over how long connections to an endpoint that only seems to fail are closed, so that not all clients come back at
/// once.
const SPREAD: Duration = Duration::from_secs(10);
/// How often a connection is looked at while `--idle-timeout` runs.
const IDLE_LOOKS: u32 = 4;

/// How a connection came to its end.
pub struct Ended {
    /// By what.
    pub outcome: Outcome,
    /// Why, where it did not end well.
    pub why: Option<String>,
    /// Bytes from the client, and to the client.
    pub moved: (u64, u64),
}

/// Carries a connection to its end. `early` are bytes from upstream that came before.
pub fn carry<'a>(
    shared: &'a Shared,
    counters: &'a Counters,
    settings: &Settings,
    client: &'a TcpStream,
    (upstream, occupied): (&'a TcpStream, &'a Occupied),
    early: Vec<u8>,
) -> impl Future<Output = Ended> + 'a {
    let endpoint = occupied.endpoint();
    let mut carrying = Carrying {
        counters,
        upstream,
        endpoint,
        relay: Relay::new(client, upstream, early),
        idle: settings.idle_timeout.map(|timeout| Box::new(Idle::new(timeout))),
        // One that has failed before this began is looked at each time, since nobody tells of that again.
        failures: endpoint.failures().wrapping_sub(u32::from(!endpoint.is_healthy())),
        is_watched: false,
    };
    // Not an async function, which would keep its arguments twice.
    async move {
        let mut has_to_end = pin!(has_to_end(shared, occupied));
        let (outcome, why) = poll_fn(|context| carrying.poll(context, has_to_end.as_mut())).await;
        if outcome == Outcome::Closed {
            carrying.relay.reset();
        }
        Ended { outcome, why, moved: carrying.relay.moved() }
    }
}

struct Carrying<'a> {
    counters: &'a Counters,
    upstream: &'a TcpStream,
    endpoint: &'a Endpoint,
    relay: Relay<'a>,
    idle: Option<Box<Idle>>,
    /// The endpoint's, when this began.
    failures: u32,
    /// Whether the endpoint tells us of its next failure.
    is_watched: bool,
}

impl Carrying<'_> {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        has_to_end: Pin<&mut impl Future<Output = &'static str>>,
    ) -> Poll<(Outcome, Option<String>)> {
        if let Poll::Ready(end) = self.relay.poll(context, &self.counters.bytes) {
            return Poll::Ready(match end {
                End::Done => (Outcome::Ok, None),
                End::Client(error) => (Outcome::Client, Some(error.to_string())),
                End::Upstream(error) => (Outcome::Upstream, Some(error.to_string())),
            });
        }
        if let Some(idle) = &mut self.idle
            && idle.poll(context, self.relay.moved()).is_ready()
        {
            return Poll::Ready((Outcome::Idle, None));
        }
        // All connections of an endpoint share what this looks at, behind a lock.
        if self.is_watched && self.endpoint.failures() == self.failures {
            return Poll::Pending;
        }
        if !self.is_watched && self.relay.moved().0 == 0 {
            acknowledge(self.upstream);
        }
        self.is_watched = true;
        has_to_end.poll(context).map(|why| (Outcome::Closed, Some(why.to_owned())))
    }
}

/// Looks now and then whether anything has moved.
struct Idle {
    timer: Pin<Box<Sleep>>,
    between: Duration,
    /// How often nothing had, one look after the other.
    looks: u32,
    seen: (u64, u64),
}

impl Idle {
    fn new(timeout: Duration) -> Self {
        let between = timeout / IDLE_LOOKS;
        Self { timer: Box::pin(sleep(between)), between, looks: 0, seen: (0, 0) }
    }

    /// Ready when nothing has for the whole time.
    fn poll(&mut self, context: &mut Context<'_>, moved: (u64, u64)) -> Poll<()> {
        while self.timer.as_mut().poll(context).is_ready() {
            self.looks = if moved == self.seen { self.looks + 1 } else { 0 };
            self.seen = moved;
            if self.looks >= IDLE_LOOKS {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(Instant::now() + self.between);
        }
        Poll::Pending
    }
}

/// Waits until the endpoint has failed and there is a better one.
#[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
pub fn has_to_end<'a>(
    shared: &'a Shared,
    occupied: &'a Occupied,
) -> impl Future<Output = &'static str> + Send + 'a {
    async move {
        loop {
            let told = occupied.endpoint().changed();
            if shared.should_leave(occupied.endpoint()) {
                if !occupied.endpoint().refuses() {
                    // In a box, since few have to.
                    Box::pin(sleep(SPREAD.mul_f64(fastrand::f64()))).await;
                }
                if shared.should_leave(occupied.endpoint()) {
                    return "its endpoint has failed";
                }
            }
            told.await;
        }
    }
}
