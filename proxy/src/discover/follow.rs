//! Lists EndpointSlices and watches them, for as long as it is polled.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use common::{apiserver::Answer, backoff::Backoff};
use http_body_util::{BodyExt, Limited};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Place, kept,
    slices::{Ended, Slices},
    way::ask,
};
use crate::{carry::has_to_end, endpoint::Occupied, shared::Shared};

/// Where the slices are. From the API server's own memory is good enough for a list: the watch brings what is newer.
const LIST: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices\
                    ?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long a watch lasts, in seconds: from, to. Some half an hour, and not all nodes at once.
const WATCH_TIME: (u64, u64) = (1500, 2100);
/// A watch that ends sooner has failed.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// The longest wait after a failure where no endpoint is known; while there are some, it is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// By how much: there is no hurry, and the API server has been away for all nodes.
const PATIENCE: f64 = 5.0;
/// Longest list, and longest event, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// Tells of all endpoints that the slices have, whenever these change.
pub(super) async fn follow(
    shared: Arc<Shared>,
    place: Place,
    tell: watch::Sender<Vec<SocketAddr>>,
) -> Infallible {
    let mut follower = Follower {
        shared,
        place,
        tell,
        slices: None,
        first: true,
        worked: false,
        told_empty: false,
        unkept: false,
    };
    let mut backoff = Backoff::new(LONGEST_WAIT);
    let mut failing = false;
    loop {
        let begun = Instant::now();
        let error = match follower.step().await {
            Ok(()) if begun.elapsed() >= SHORTEST_WATCH => None,
            Ok(()) => Some("the watch ended as soon as it had begun".to_owned()),
            Err(error) => {
                // What was not understood is asked for anew, and so is what is too old.
                if error.downcast_ref::<Ended>().is_some() {
                    follower.slices = None;
                }
                Some(format!("{error:#}"))
            }
        };
        if error.is_none() || std::mem::take(&mut follower.worked) {
            backoff.succeeded();
        }
        let Some(error) = error else {
            failing = false;
            continue;
        };
        if !failing {
            tracing::warn!(
                error,
                "cannot watch the API servers' EndpointSlices; known endpoints stay in use"
            );
        }
        failing = true;
        let spread = if follower.tell.borrow().is_empty() { 0.5 } else { PATIENCE };
        sleep(backoff.failed().mul_f64(1.0 + spread * fastrand::f64())).await;
    }
}

struct Follower {
    shared: Arc<Shared>,
    place: Place,
    tell: watch::Sender<Vec<SocketAddr>>,
    /// As far as they are known.
    slices: Option<Slices>,
    /// Nothing has been listed yet.
    first: bool,
    /// An event has come since that was last asked.
    worked: bool,
    /// That there is no endpoint.
    told_empty: bool,
    /// The file could not be written.
    unkept: bool,
}

impl Follower {
    /// Lists what has to be listed, and watches until the watch is over.
    async fn step(&mut self) -> anyhow::Result<()> {
        let mut slices = match self.slices.take() {
            Some(slices) => slices,
            None => {
                let slices = timeout(ANSWER_TIME, self.list()).await.context("no list in time")??;
                self.publish(&slices);
                slices
            }
        };
        let watched = self.watch(&mut slices).await;
        self.slices = Some(slices);
        watched
    }

    async fn list(&mut self) -> anyhow::Result<Slices> {
        // Later on it is asked for because the version was too old, and an old one would be as useless.
        let path = if self.first { format!("{LIST}&resourceVersion=0") } else { LIST.to_owned() };
        let (answer, _occupied) = ask(&self.shared, &self.place, &path).await?;
        let slices = Slices::list(&accepted(answer).await?)?;
        self.first = false;
        Ok(slices)
    }

    async fn watch(&mut self, slices: &mut Slices) -> anyhow::Result<()> {
        let lasts = fastrand::u64(WATCH_TIME.0..WATCH_TIME.1);
        let path = format!(
            "{LIST}&watch=1&allowWatchBookmarks=true&timeoutSeconds={lasts}&resourceVersion={}",
            slices.version
        );
        let begun = timeout(ANSWER_TIME, ask(&self.shared, &self.place, &path)).await;
        let (answer, occupied) = begun.context("no answer to a watch in time")??;
        if !answer.status().is_success() {
            return accepted(answer).await.map(drop);
        }
        let shared = Arc::clone(&self.shared);
        let latest = Duration::from_secs(lasts) + ANSWER_TIME;
        tokio::select! {
            read = self.read(answer, slices) => read,
            () = leaves(&shared, occupied.as_ref()) => Ok(()),
            () = sleep(latest) => Ok(()),
        }
    }

    /// Reads events until there are no more.
    async fn read(&mut self, mut answer: Answer, slices: &mut Slices) -> anyhow::Result<()> {
        let mut line = Vec::new();
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.context("the watch broke off")?;
            let mut rest = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
            while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let (end, more) = rest.split_at(at);
                line.extend_from_slice(end);
                rest = more.get(1..).unwrap_or_default();
                if !line.is_empty() {
                    slices.event(&line)?;
                    self.worked = true;
                }
                line.clear();
                line.shrink_to(4096);
                self.publish(slices);
            }
            line.extend_from_slice(rest);
            if line.len() > LONGEST {
                bail!(Ended::Malformed(format!("an event of more than {LONGEST} bytes")));
            }
        }
        Ok(())
    }

    /// Tells of what the slices have, and keeps it. A Service without any endpoint is nothing to go by: whoever says so
    /// is an API server.
    fn publish(&mut self, slices: &Slices) {
        let addresses = slices.addresses();
        if addresses.is_empty() {
            if !std::mem::replace(&mut self.told_empty, true) {
                tracing::warn!("the Service kubernetes has no ready endpoint; known ones stay in use");
            }
            return;
        }
        self.told_empty = false;
        let is_new = self.tell.send_if_modified(|known| {
            let is_new = *known != addresses;
            known.clone_from(&addresses);
            is_new
        });
        let Some(folder) = self.place.state_dir.as_ref().filter(|_| is_new || self.unkept) else { return };
        let stored = kept::store(folder, &addresses);
        if let Err(error) = &stored
            && !self.unkept
        {
            tracing::warn!(
                folder = %folder.display(), %error,
                "cannot keep the endpoints; a start while the API server is away will know none"
            );
        }
        self.unkept = stored.is_err();
    }
}

/// Waits until the endpoint that a watch goes through has failed.
async fn leaves(shared: &Shared, occupied: Option<&Occupied>) {
    match occupied {
        Some(occupied) => drop(has_to_end(shared, occupied).await),
        None => std::future::pending().await,
    }
}

/// The body of a good answer.
async fn accepted(answer: Answer) -> anyhow::Result<Vec<u8>> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    if status.is_success() {
        return Ok(body.to_vec());
    }
    if status.as_u16() == 410 {
        bail!(Ended::Gone);
    }
    let said: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let said = said.as_ref().and_then(|said| said.get("message")).and_then(|message| message.as_str());
    let said: String = said.unwrap_or_default().chars().take(300).collect();
    bail!("the API server answered {status} {said}")
}
