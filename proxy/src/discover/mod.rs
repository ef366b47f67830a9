//! `--discover`: endpoints from the EndpointSlices of the Service `kubernetes`.
//!
//! The API server that tells of them is reached through the endpoints that are known, as every other connection; only
//! while none answers, where the kubeconfig or the Pod's environment says, and never through our own listener. What was
//! said last is kept in a file, so that a node starts while all API servers are away.

mod follow;
pub mod kept;
pub mod slices;
mod way;

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    resolve::Sources,
    shared::{Shared, changed},
};

/// What is followed, and what it said.
#[derive(Debug, Default)]
pub struct Discovery {
    place: Option<Place>,
    heard: Option<watch::Receiver<Vec<SocketAddr>>>,
    task: JoinSet<Infallible>,
}

/// What discovery has to know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    state_dir: Option<PathBuf>,
    own: Vec<SocketAddr>,
}

impl Discovery {
    /// Begins, goes on or ends, as the sources say.
    pub fn change(&mut self, shared: &Arc<Shared>, sources: &Sources) {
        let place = Place { state_dir: sources.state_dir.clone(), own: sources.own.clone() };
        let place = sources.discover.then_some(place);
        if place == self.place {
            return;
        }
        let known = self.found();
        self.task.abort_all();
        self.heard = place.as_ref().map(|place| {
            let known = if known.is_empty() { loaded(place) } else { known };
            let (tell, heard) = watch::channel(known);
            self.task.spawn(follow::follow(Arc::clone(shared), place.clone(), tell));
            heard
        });
        self.place = place;
    }

    /// Waits for other endpoints.
    pub async fn changed(&mut self) {
        match &mut self.heard {
            Some(heard) => changed(heard).await,
            None => std::future::pending().await,
        }
    }

    /// All that are known.
    #[must_use]
    pub fn found(&self) -> Vec<SocketAddr> {
        self.heard.as_ref().map(|heard| heard.borrow().clone()).unwrap_or_default()
    }
}

/// What was kept.
fn loaded(place: &Place) -> Vec<SocketAddr> {
    let Some(folder) = &place.state_dir else { return Vec::new() };
    match kept::load(folder) {
        Ok(known) => known.unwrap_or_default(),
        Err(error) => {
            let path = folder.join(kept::NAME);
            tracing::warn!(path = %path.display(), %error, "the kept endpoints are not used");
            Vec::new()
        }
    }
}
