//! A steady load of POSTs over HTTP/1.1 and TLS, on connections that are kept, as an API server sends them to a
//! webhook.
//!
//! A request that fails is sent again where Go's `http.Transport` would send a POST with a body that it can rewind
//! again (`persistConn.shouldRetryRequest` in net/http/transport.go), and only there: on a connection that has
//! served a request before, when nothing of this one was written. A POST that was written, even in part, is not
//! idempotent to Go, and is lost with its connection: that is a failure. A connection whose end was noticed while
//! it was idle is not used at all, and its request no second try. Kubernetes' client adds no retry of POSTs to
//! this (`Request.Do` in client-go retries those of GET, and answers with `Retry-After`).

mod connection;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use self::connection::{Connection, Lost};

/// What to send, where and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to.
    pub address: SocketAddr,
    /// By which CA the server is `localhost`; see [`https::client`](crate::https::client).
    pub trust: Arc<ClientConfig>,
    /// The path.
    pub path: String,
    /// JSON.
    pub body: Vec<u8>,
    /// How many connections send at the same time.
    pub connections: usize,
    /// Requests a second of all connections together.
    pub rate: u32,
    /// So many of the connections are closed and made anew…
    pub renewed: usize,
    /// … after so many requests each.
    pub renew_after: u64,
    /// How long a request may take, with its connection.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Requests that were answered with a status of 200 to 299.
    pub answered: u64,
    /// Those that were not, by reason: `connect: …`, `handshake: …`, `lost: …`, `status 503`, `timed out`.
    pub failures: BTreeMap<String, u64>,
    /// Requests that were sent again by Go's rule. They count once, by what came of them in the end.
    pub retried: u64,
    /// Connections that were made.
    pub connected: u64,
    /// From the moment at which a request was due, whether or not a connection was free then.
    latencies: Vec<Duration>,
}

impl Report {
    /// How many requests failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The latency that so many of a hundred answered requests did not exceed; zero where none was answered.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

/// A load that runs; it ends when dropped.
#[derive(Debug)]
pub struct Load {
    report: Arc<Mutex<Report>>,
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts to send.
    ///
    /// # Panics
    /// When the plan has no connections or no rate.
    #[must_use]
    pub fn start(plan: &Plan) -> Self {
        assert!(plan.connections > 0 && plan.rate > 0, "nothing to send in {plan:?}");
        let report = Arc::<Mutex<Report>>::default();
        let (stop, stopped) = watch::channel(());
        let (plan, theirs) = (Arc::new(plan.clone()), Arc::clone(&report));
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut senders = JoinSet::new();
                for index in 0..plan.connections {
                    senders.spawn(send(Arc::clone(&plan), index, Arc::clone(&theirs), stopped.clone()));
                }
                senders.join_all().await;
            });
        });
        Self { report, stop: Some(stop), thread: Some(thread) }
    }

    /// What came of it so far.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().expect("no sender panics").clone()
    }

    /// Sends nothing more, and waits for the answers that are due.
    ///
    /// # Panics
    /// When a sender panicked.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.end().expect("no sender panics");
        self.report()
    }

    fn end(&mut self) -> std::thread::Result<()> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// One connection's part of the load, with its connections one after the other.
async fn send(plan: Arc<Plan>, index: usize, report: Arc<Mutex<Report>>, mut stopped: watch::Receiver<()>) {
    let share = |parts: usize| Duration::from_secs_f64(parts as f64 / f64::from(plan.rate));
    let mut due = tokio::time::interval_at(Instant::now() + share(index), share(plan.connections));
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut kept = None;
    loop {
        let begin = tokio::select! {
            begin = due.tick() => begin,
            _ = stopped.changed() => return,
        };
        let posted = tokio::time::timeout(plan.timeout, post(&plan, kept.take(), &report)).await;
        let outcome = match posted {
            Ok(Ok((connection, status))) => {
                let old = index < plan.renewed && connection.served() >= plan.renew_after;
                kept = Some(connection).filter(|connection| !old && connection.is_kept());
                if (200..300).contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err("timed out".to_owned()),
        };
        let mut report = report.lock().expect("no sender panics");
        match outcome {
            Ok(()) => {
                report.answered += 1;
                report.latencies.push(begin.elapsed());
            }
            Err(why) => *report.failures.entry(why).or_default() += 1,
        }
    }
}

/// Posts once, by Go's rule twice, on the connection that is kept or on a new one.
async fn post(
    plan: &Plan,
    kept: Option<Connection>,
    report: &Mutex<Report>,
) -> Result<(Connection, u16), String> {
    if let Some(mut connection) = kept.and_then(Connection::if_alive) {
        match connection.post(plan).await {
            Ok(status) => return Ok((connection, status)),
            Err(Lost::Again(_)) => report.lock().expect("no sender panics").retried += 1,
            Err(Lost::ForGood(error)) => return Err(format!("lost: {error}")),
        }
    }
    let mut connection = Connection::open(plan).await?;
    report.lock().expect("no sender panics").connected += 1;
    match connection.post(plan).await {
        Ok(status) => Ok((connection, status)),
        Err(Lost::Again(error) | Lost::ForGood(error)) => Err(format!("lost: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;
    use crate::{cluster::Cluster, https};

    #[tokio::test]
    async fn a_request_of_which_nothing_was_written_is_sent_again() {
        let cluster = Cluster::fake();
        let plan = Plan {
            address: cluster.address(),
            trust: https::client(cluster.ca()),
            path: "/readyz".to_owned(),
            body: b"{}".to_vec(),
            connections: 1,
            rate: 1,
            renewed: 0,
            renew_after: 0,
            timeout: Duration::from_secs(10),
        };
        let report = Mutex::default();
        let (kept, _) = post(&plan, None, &report).await.unwrap();
        shutdown(kept.as_raw_fd(), Shutdown::Write).unwrap();
        let (_, status) = post(&plan, Some(kept), &report).await.unwrap();
        let report = report.into_inner().unwrap();
        assert_eq!((status, report.retried, report.connected), (200, 1, 2));

        // On a new connection it is not.
        let fresh = Connection::open(&plan).await.unwrap();
        shutdown(fresh.as_raw_fd(), Shutdown::Write).unwrap();
        let report = Mutex::default();
        let lost = post(&plan, Some(fresh), &report).await.unwrap_err();
        assert!(lost.starts_with("lost: "), "{lost}");
        assert_eq!(report.into_inner().unwrap().retried, 0);
    }
}
