//! The keeper's life: look, wait, look again.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use common::{apiserver::Server, backoff::Backoff};

use super::{
    Place,
    kept::Kept,
    look::{Looked, Watch},
    objects::{Object, PURPOSE},
    pair::{Known, Pair},
};
use crate::{certificates::Certificates, metrics::Metrics};

/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The shortest time between two looks, whatever happens.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// Keeps Secret, `caBundle` and the certificate in use right.
#[derive(Debug)]
pub struct Keeper {
    pub(super) secret: Kept,
    pub(super) registration: Kept,
    pub(super) registered: bool,
    /// For which a certificate is made.
    pub(super) names: BTreeSet<String>,
    pub(super) shown: Option<Known>,
    /// Since when each `caBundle` has been seen to be right for that newest certificate.
    pub(super) trusted: Option<(Pair, Instant)>,
    /// Our own clock, in seconds since 1970.
    pub(super) clock: fn() -> i64,
}

impl Keeper {
    /// Finds out how to reach the API server.
    ///
    /// # Errors
    /// When there is none to be found.
    pub async fn connect(place: &Place, clock: fn() -> i64) -> anyhow::Result<Self> {
        Server::find(PURPOSE).await?;
        let secret = Object::secret(&place.namespace, &place.secret);
        let registration = Object::webhook_configuration(&place.registration);
        Ok(Self {
            secret: Kept::new(secret, "leave its data out of what is applied"),
            registration: Kept::new(
                registration,
                "have caBundle left out of what is applied: docs/webhook.md says how",
            ),
            registered: true,
            names: [format!("apiserver-proxy-pod-webhook.{}.svc", place.namespace)].into(),
            shown: None,
            trusted: None,
            clock,
        })
    }

    /// Keeps everything right for as long as it is polled.
    pub async fn run(mut self, certificates: &Certificates, metrics: &Metrics) {
        let mut backoff = Backoff::new(LONGEST_WAIT);
        let mut failing = false;
        loop {
            let mut looked = self.look().await;
            if let Some(known) = looked.show.take() {
                match certificates.replace(&known.pair.material(), |_, _| Ok(())) {
                    Ok(()) => {
                        metrics.certificate_reloaded(true);
                        self.shown = Some(known);
                    }
                    Err(why) => looked.problems.push(why),
                }
            }
            let problem = Some(looked.problems.join("; ")).filter(|problem| !problem.is_empty());
            let failed = problem.is_some();
            if failed && !failing {
                metrics.certificate_reloaded(false);
            }
            failing = failed;
            certificates.tell(problem);
            let pause = if failed || looked.overtaken {
                backoff.failed()
            } else {
                backoff.succeeded();
                SHORTEST_WAIT
            };
            tokio::time::sleep(pause).await;
            if !looked.overtaken {
                self.wait(&looked).await;
            }
        }
    }

    /// Waits until something has changed, or it is time.
    async fn wait(&self, looked: &Looked) {
        let Some(secret) = &looked.secret else { return };
        let registration = async {
            match &looked.registration {
                Watch::Nothing => std::future::pending().await,
                Watch::Missing => self.registration.changed(None).await,
                Watch::Version(version) => self.registration.changed(version.as_deref()).await,
            }
        };
        let changed = async {
            tokio::select! {
                () = self.secret.changed(Some(secret)) => {}
                () = registration => {}
            }
        };
        let again = if looked.problems.is_empty() { looked.again } else { looked.again.min(LONGEST_WAIT) };
        let _ = tokio::time::timeout(again, changed).await;
    }
}
