//! When a process that has just started begins to accept connections, and when it is ready.
//!
//! | | accepts | is ready |
//! |---|---|---|
//! | no endpoint is known | no | no |
//! | none has answered yet, and an older process carries on with the same socket | no: what it took would fail there | no |
//! | none has answered yet, and there is no older one | yes: a check may be wrong | no |
//! | one has answered, to a check or to a connection | yes | yes, and from then on |
//!
//! With several sockets the last older process counts, and with it what it holds no part of: nobody has accepted there.
//!
//! So an update with a mistake in it ends on the first node, which goes on with the older process. Later on endpoints have
//! no part in readiness: API servers that are away are no reason to replace what leads to them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    handover::Older,
    shared::{Shared, changed},
};

/// How long the first answer may take before it is missed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until connections are to be accepted. `older` are the processes that carry on with a socket of ours.
pub async fn turn(shared: &Shared, older: Vec<Older>) {
    // Without an endpoint every connection would fail that an older process may still carry.
    let mut others = shared.endpoints_changed();
    while shared.endpoints.load().all().is_empty() {
        changed(&mut others).await;
    }
    if older.is_empty() {
        return;
    }
    let gone = async {
        for older in older {
            older.gone().await;
        }
    };
    tokio::select! {
        biased;
        () = shared.answered() => {}
        () = gone => tracing::warn!("the older instance has stopped, and no endpoint has answered yet; accepting connections nevertheless"),
    }
}

/// Says that no endpoint has answered, if none does for a while; and when one has, then.
pub async fn tell(shared: Arc<Shared>) -> Infallible {
    if timeout(PATIENCE, shared.answered()).await.is_err() {
        tracing::warn!(
            known = shared.endpoints.load().all().len(),
            "not ready: no endpoint has answered yet"
        );
        shared.answered().await;
        tracing::info!("an endpoint has answered: ready from now on");
    }
    std::future::pending().await
}
