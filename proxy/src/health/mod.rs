//! Whether endpoints are well: each is checked on its own, at times that chance has a part in.
//!
//! Connections that fail mark an endpoint as well, at once; the next check comes soon then, and one that succeeds brings
//! the endpoint back. One whose check or connect was not answered is suspected before it has failed: that takes new
//! connections elsewhere, which harms nobody, while to fail closes those that are open. So a suspicion is followed by one
//! check soon, and never by two: how long an endpoint has to be silent to fail is for the interval to say.

mod check;
pub mod decide;
mod trust;

use std::{collections::HashMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use self::{
    check::check,
    decide::{Found, Row, Verdict},
};
use crate::{
    endpoint::Endpoint,
    shared::{Shared, changed},
};

/// How endpoints are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// What is looked at.
    pub kind: Check,
    /// The name that TLS is for; without one none is sent.
    pub sni: Option<String>,
    /// From one check to the next.
    pub interval: Duration,
    /// After which a check has failed.
    pub timeout: Duration,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// A connection comes about.
    #[default]
    Tcp,
    /// And TLS on it, with any certificate.
    Tls,
    /// And `GET /readyz` is answered by 2xx, or by 401.
    Https,
}

impl Check {
    /// As a flag has them.
    pub const VALUES: [&str; 3] = ["tcp", "tls", "https"];

    /// The one of that name.
    #[must_use]
    pub fn from_value(value: &str) -> Option<Self> {
        match value {
            "tcp" => Some(Self::Tcp),
            "tls" => Some(Self::Tls),
            "https" => Some(Self::Https),
            _ => None,
        }
    }
}

/// Checks all endpoints, for as long as it is polled.
pub async fn watch(shared: Arc<Shared>, settings: watch::Receiver<HealthSettings>) -> Infallible {
    let trust = match trust::anybody() {
        Ok(trust) => trust,
        Err(error) => {
            tracing::error!(%error, "no health checks: TLS does not work");
            std::future::pending().await
        }
    };
    let mut endpoints_changed = shared.endpoints_changed();
    let (mut checks, mut running) =
        (JoinSet::new(), HashMap::<SocketAddr, (Arc<Endpoint>, AbortHandle)>::new());
    loop {
        let endpoints = shared.endpoints.load_full();
        // One that has left and come back is another one.
        let is_there = |known: &Arc<Endpoint>| endpoints.all().iter().any(|there| Arc::ptr_eq(there, known));
        running.retain(|_, (known, task)| {
            let stays = is_there(known);
            if !stays {
                task.abort();
            }
            stays
        });
        for endpoint in endpoints.all() {
            running.entry(endpoint.address).or_insert_with(|| {
                let task = keep_checking(
                    Arc::clone(&shared),
                    Arc::clone(endpoint),
                    settings.clone(),
                    Arc::clone(&trust),
                );
                (Arc::clone(endpoint), checks.spawn(task))
            });
        }
        tokio::select! {
            () = changed(&mut endpoints_changed) => {}
            Some(_) = checks.join_next() => {}
        }
    }
}

/// Checks one endpoint until it is told to stop.
async fn keep_checking(
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    mut settings: watch::Receiver<HealthSettings>,
    trust: Arc<ClientConfig>,
) {
    let mut row = Row::default();
    let mut troubled = false;
    // Whether this check was asked for by a connection, and how many before it were.
    let (mut is_asked, mut asked) = (false, 0_u32);
    let mut current = settings.borrow_and_update().clone();
    // Whoever has just started waits for an answer, less and less eagerly.
    let mut tries = 0_u32;
    let mut due = Instant::now()
        + if shared.has_answered() {
            decide::first(current.interval, fastrand::f64())
        } else {
            decide::soon(current.interval, tries, fastrand::f64())
        };
    loop {
        tokio::select! {
            () = sleep_until(due) => {}
            () = endpoint.asked_for_check() => {
                if row.is_clean() || !endpoint.is_healthy() {
                    is_asked = true;
                    due = due.min(Instant::now() + decide::soon(current.interval, asked, fastrand::f64()));
                }
                continue;
            }
            () = changed(&mut settings) => {
                current = settings.borrow_and_update().clone();
                due = due.min(Instant::now() + decide::first(current.interval, fastrand::f64()));
                continue;
            }
        }
        asked = if std::mem::take(&mut is_asked) { asked.saturating_add(1) } else { 0 };
        let protocol = shared.settings.load_full();
        let found = check(endpoint.address, &protocol.protocol, &current, &trust).await;
        due = Instant::now() + decide::next(current.interval, fastrand::f64());
        if found == Found::Good {
            shared.note_answer();
        }
        if !shared.has_answered() {
            tries = tries.saturating_add(1);
            due = due.min(Instant::now() + decide::soon(current.interval, tries, fastrand::f64()));
        }
        if let Found::Nothing(error) = &found
            && !troubled
        {
            tracing::warn!(error, "cannot check endpoints at the moment");
        }
        troubled = matches!(found, Found::Nothing(_));
        apply(&endpoint, row.take(&found, endpoint.is_healthy()), found);
    }
}

/// Takes note of a verdict, and says what is new.
fn apply(endpoint: &Endpoint, verdict: Verdict, found: Found) {
    let (healthy, refuses) = match verdict {
        Verdict::Same => {
            // Not for want of our own means.
            if let Found::Bad(why) = found
                && endpoint.suspect()
            {
                tracing::info!(endpoint = %endpoint.address, why, "endpoint suspected: a check failed");
            }
            return;
        }
        Verdict::Healthy => (true, false),
        Verdict::Unhealthy { refuses } => (false, refuses),
    };
    if !endpoint.set_health(healthy, refuses) {
        return;
    }
    match found {
        Found::Fails { why, .. } | Found::Bad(why) => {
            tracing::warn!(endpoint = %endpoint.address, why, "endpoint failed: its checks did");
        }
        Found::Good | Found::Nothing(_) => {
            tracing::info!(endpoint = %endpoint.address, "endpoint is well again")
        }
    }
}
