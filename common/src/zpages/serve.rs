//! Listeners that come to be, sooner or later.

use std::{convert::Infallible, fmt::Display, io, path::PathBuf, time::Duration};

use axum::Router;

use super::{
    connection::{LIMITS, accept},
    unix,
};
use crate::listen::HostPort;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Serves the pages on a TCP port, for as long as it is polled.
///
/// An address that can't be had is tried again for ever, after a second at first and every ten in the end: in a
/// rolling update another instance may have the port, and a node's address may come later than the program. The log
/// has one line when that begins, and one as always when the pages are served.
pub async fn serve_tcp(address: HostPort, router: Router) -> Infallible {
    let bind = || async { address.bind().await.map_err(|error| format!("{error}{}", hint(&error))) };
    let listener = patiently(&address, FIRST_PAUSE, bind).await;
    // With port 0 this says which one it is.
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "health pages are served");
    }
    accept(listener, router, LIMITS).await
}

/// Serves the pages on a Unix socket (see [`place`](super::place)), for as long as it is polled. Only processes of the
/// same user, and root's, get in.
///
/// A socket that is there already at a path is replaced, whether its process is dead or alive. What can't be done is tried
/// again, as [`serve_tcp`] does.
pub async fn serve_unix(path: PathBuf, router: Router) -> Infallible {
    let listener = patiently(&path.display(), FIRST_PAUSE, || unix::bind(&path)).await;
    tracing::info!(path = %path.display(), "health pages are served");
    accept(listener, router, LIMITS).await
}

/// What a person can do about it.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has the port, or another instance of this one until it ends"
        }
        io::ErrorKind::AddrNotAvailable => "; this host does not have the address, or not yet",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Binds until it works. `place` is for the log.
pub(super) async fn patiently<L, E, F>(place: &impl Display, first_pause: Duration, bind: impl Fn() -> F) -> L
where
    E: Display,
    F: Future<Output = Result<L, E>>,
{
    let mut pause = first_pause;
    let mut failed = false;
    loop {
        let error = match bind().await {
            Ok(listener) => return listener,
            Err(error) => error,
        };
        if failed {
            tracing::debug!(%error, "still cannot listen on {place} for the health pages");
        } else {
            tracing::warn!(%error, "cannot listen on {place} for the health pages; trying again until it works");
        }
        failed = true;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
