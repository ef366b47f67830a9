//! From upstreams to endpoints. A stand-in: addresses only.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::sync::watch;

use crate::{shared::Shared, upstream::Upstream};

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Addresses and names.
    pub upstreams: Vec<Upstream>,
    /// Whether the `kubernetes` EndpointSlice is one.
    pub discover: bool,
    /// Where the last known list is kept.
    pub state_dir: Option<PathBuf>,
    /// Our own addresses, which are none.
    pub own: Vec<SocketAddr>,
}

/// Keeps the endpoints as the sources say.
pub async fn keep(shared: Arc<Shared>, mut sources: watch::Receiver<Sources>) -> Infallible {
    loop {
        let addresses: Vec<SocketAddr> =
            sources.borrow_and_update().upstreams.iter().map(|upstream| upstream.0).collect();
        let endpoints = shared.endpoints.load().update(addresses);
        shared.endpoints.store(Arc::new(endpoints));
        if sources.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
