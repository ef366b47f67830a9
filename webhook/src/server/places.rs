//! How many connections there may be.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::stage::{Stage, State};

/// How often connections are asked to leave while another waits for a place.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a connection has had nothing to do that leaves when it is asked.
pub(super) const BRIEF: Duration = Duration::from_secs(1);
/// Places that a connection of HTTP/2 takes besides its first: it may have that many times the buffers.
const FOR_HTTP2: u32 = 7;

/// The places of a listener. When all are taken, connections with nothing to do leave, so that whoever only holds a
/// connection keeps nobody out.
pub(super) struct Places(Arc<Semaphore>);

/// A connection's.
pub(super) struct Place {
    places: Arc<Semaphore>,
    /// Semaphores that are never closed always give one.
    taken: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Waits for one, and has others leave.
    pub(super) async fn take(&self, stage: &Stage) -> Place {
        let places = Arc::clone(&self.0);
        let mut wait = pin!(Arc::clone(&places).acquire_owned());
        let mut crowded = false;
        let taken = loop {
            let ask = async {
                stage.crowd(true);
                tokio::time::sleep(ASK_AGAIN).await;
            };
            tokio::select! {
                biased;
                taken = wait.as_mut() => break taken.ok(),
                () = ask => crowded = true,
            }
        };
        if crowded {
            stage.crowd(false);
        }
        Place { places, taken }
    }
}

impl Place {
    /// Waits until it is enough for HTTP/2.
    pub(super) async fn widen(&mut self) {
        let more = Arc::clone(&self.places).acquire_many_owned(FOR_HTTP2).await;
        if let (Some(taken), Ok(more)) = (&mut self.taken, more) {
            taken.merge(more);
        }
    }
}

/// Waits until others want a place, and a connection has been there for a moment.
pub(super) async fn is_wanted(mut state: watch::Receiver<State>, since: Instant) {
    // The sender outlives every connection.
    let _ = state.wait_for(|state| state.crowded && since.elapsed() >= BRIEF).await.is_ok();
}
