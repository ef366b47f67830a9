//! `--cert-secret` and `--webhook-configuration`: a certificate that needs nobody, shared by all replicas.
//!
//! CA and certificate are in a Secret, the CA in the `caBundle` of a MutatingWebhookConfiguration as well. Every
//! replica looks at both, whenever one changes and every few minutes besides, and mends what it finds:
//! 1. What the Secret has to hold is decided from what it holds ([`decide`]: pure), and written where it differs. Two
//!    replicas that write at once can't both succeed; the one that is refused looks again, and finds nothing to do.
//! 2. The same for each `caBundle` ([`registration`]: pure). It is read before the Secret and written only if it has
//!    not changed since, so that no replica puts back an older state than another one has written.
//! 3. Which certificate to show is each replica's own decision.
//!
//! No failure in here keeps anybody waiting: the certificate in use stays in use.

pub mod authorities;
pub mod clock;
mod connect;
pub mod decide;
mod kept;
mod objects;
pub mod pair;
pub mod registration;
pub mod secret;
mod trust;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use common::backoff::Backoff;
use serde_json::Value;

use self::{
    clock::Clocks,
    decide::{SETTLE, Seen, Verdict},
    kept::{Kept, NotPut},
    objects::{Object, Read, WATCH_TIME, version},
    pair::{Known, Pair},
    secret::Stored,
};
use crate::{certificates::Certificates, handler::PATH, metrics::Metrics};

/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The shortest time between two looks, whatever happens.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// `--cert-secret` and `--webhook-configuration`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// The MutatingWebhookConfiguration's name.
    pub registration: String,
}

/// Keeps Secret, `caBundle` and the certificate in use right.
#[derive(Debug)]
pub struct Keeper {
    secret: Kept,
    registration: Kept,
    registered: bool,
    /// For which a certificate is made.
    names: BTreeSet<String>,
    shown: Option<Known>,
    /// Since when each `caBundle` has been seen to be right for that newest certificate.
    trusted: Option<(Pair, Instant)>,
    /// Our own clock, in seconds since 1970.
    clock: fn() -> i64,
}

/// What a look has come to.
#[derive(Debug)]
struct Looked {
    /// To be shown from now on.
    show: Option<Known>,
    /// When to look again, whatever happens.
    again: Duration,
    /// What is not as it should be.
    problems: Vec<String>,
    /// Another replica was quicker.
    overtaken: bool,
    /// The objects' versions, to wait for others; without one for the Secret there is nothing to wait for.
    secret: Option<String>,
    registration: Watched,
}

/// What to wait for at the registration.
#[derive(Debug)]
enum Watched {
    /// For nothing: it can't be read.
    Not,
    /// For its coming.
    Missing,
    /// For another version.
    Version(Option<String>),
}

impl Looked {
    fn not_put(&mut self, why: NotPut) {
        match why {
            NotPut::Held(time) => self.again = self.again.min(time),
            NotPut::Overtaken => self.overtaken = true,
            NotPut::Failed(problem) => self.problems.push(problem),
        }
    }
}

impl Keeper {
    /// Finds out how to reach the API server.
    ///
    /// # Errors
    /// When there is none to be found.
    pub async fn connect(place: &Place, clock: fn() -> i64) -> anyhow::Result<Self> {
        connect::configuration().await?;
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
                Watched::Not => std::future::pending().await,
                Watched::Missing => self.registration.changed(None).await,
                Watched::Version(version) => self.registration.changed(version.as_deref()).await,
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

    /// Looks once, and mends what it can.
    async fn look(&mut self) -> Looked {
        let mut looked = Looked {
            show: None,
            again: WATCH_TIME,
            problems: Vec::new(),
            overtaken: false,
            secret: None,
            registration: Watched::Missing,
        };
        // In this order: see the module.
        let registration = self.registration.object.get().await.unwrap_or_else(|error| {
            looked.problems.push(self.registration.cannot("read", &error));
            looked.registration = Watched::Not;
            Read { object: None, date: None }
        });
        let secret = match self.secret.object.get().await {
            Ok(Read { object: Some(secret), date }) => Ok((secret, date)),
            Ok(Read { object: None, .. }) => Err(self.no_secret()),
            Err(error) => Err(self.secret.cannot("read", &error)),
        };
        let own = (self.clock)();
        let clocks = |date: Option<i64>| Clocks { server: date.unwrap_or(own), own };
        let (stored, now) = match secret {
            Ok((secret, date)) => {
                let now = clocks(date);
                (self.keep_secret(secret, registration.object.as_ref(), now, &mut looked).await, now)
            }
            Err(problem) => {
                looked.problems.push(problem);
                // What is in use has to be trusted all the same.
                let stored = self.shown.as_ref().map(|Known { pair, authorities }| Stored {
                    newest: Some(pair.clone()),
                    previous: None,
                    authorities: authorities.clone(),
                });
                (stored.unwrap_or_default(), clocks(registration.date))
            }
        };
        match registration.object {
            Some(object) => self.keep_registration(object, &stored, now, &mut looked).await,
            None => self.trusted = None,
        }
        self.choose(&stored, now, &mut looked);
        looked.problems.extend(self.secret.fight());
        looked.problems.extend(self.registration.fight());
        looked
    }

    /// Mends the Secret. Returns what it holds then.
    async fn keep_secret(
        &mut self,
        mut secret: Value,
        registration: Option<&Value>,
        now: Clocks,
        looked: &mut Looked,
    ) -> Stored {
        let stored = Stored::read(&secret);
        looked.secret = version(&secret);
        self.learn_names(registration, &stored);
        let seen = Seen { stored: &stored, shown: self.shown.as_ref(), names: &self.names, now };
        let (wanted, reason) = match seen.verdict() {
            Verdict::Keep => return stored,
            Verdict::Store(wanted, reason) => (wanted, reason.to_owned()),
            Verdict::Make(names, reason) => match pair::make(&names, now) {
                Ok(made) => (seen.with(made), reason),
                Err(problem) => {
                    looked.problems.push(problem);
                    return stored;
                }
            },
        };
        wanted.write(&mut secret);
        match self.secret.put(&secret).await {
            Ok(written) => {
                let names = self.names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                tracing::info!(secret = self.secret.object.what(), names, reason, "certificate stored");
                looked.secret = version(&written);
                wanted
            }
            Err(why) => {
                looked.not_put(why);
                // What is not stored is not trusted by anybody.
                stored
            }
        }
    }

    /// Mends each `caBundle`, and notes since when they are right.
    async fn keep_registration(&mut self, object: Value, stored: &Stored, now: Clocks, looked: &mut Looked) {
        let mut right = true;
        looked.registration = Watched::Version(version(&object));
        if let Some(corrected) = registration::corrected(&object, &stored.authorities, now.earlier()) {
            match self.registration.put(&corrected).await {
                Ok(written) => {
                    let authorities = stored.authorities.len();
                    tracing::info!(
                        registration = self.registration.object.what(),
                        authorities,
                        "caBundle set"
                    );
                    looked.registration = Watched::Version(version(&written));
                }
                Err(why) => {
                    looked.not_put(why);
                    right = false;
                }
            }
        }
        self.trusted = match (self.trusted.take(), &stored.newest) {
            (Some((pair, since)), Some(newest)) if right && pair == *newest => Some((pair, since)),
            (_, Some(newest)) if right => Some((newest.clone(), Instant::now())),
            _ => None,
        };
    }

    /// Which certificate to show, and when to ask again.
    fn choose(&self, stored: &Stored, now: Clocks, looked: &mut Looked) {
        let trusted_for = self.trusted.as_ref().map(|(_, since)| since.elapsed());
        let seen = Seen { stored, shown: self.shown.as_ref(), names: &self.names, now };
        let known = |pair: &Pair| Known { pair: pair.clone(), authorities: stored.authorities.clone() };
        looked.show = seen.show(trusted_for).map(known);
        let showing = looked.show.as_ref().or(self.shown.as_ref()).map(|known| &known.pair);
        if showing != stored.newest.as_ref()
            && let Some(time) = trusted_for.filter(|time| *time < SETTLE)
        {
            looked.again = looked.again.min(SETTLE - time);
        }
        if let Some(pair) = showing.filter(|pair| !seen.is_accepted_somewhere(pair)) {
            let identity = pair.identity().map(|identity| identity.to_string()).unwrap_or_default();
            looked.problems.push(format!("no API server accepts the one in use: {identity}"));
        }
    }

    /// The names of the registration, or without one those of the certificate that is there.
    fn learn_names(&mut self, registration: Option<&Value>, stored: &Stored) {
        let what = self.registration.object.what();
        let registered = registration.map(registration::names).unwrap_or_default();
        let there = stored.newest.as_ref().map(Pair::names).unwrap_or_default();
        let is_registered = !registered.is_empty();
        if self.registered && !is_registered {
            tracing::warn!(
                "{what} is not there, or asks nobody at {PATH}; its caBundle will be set as soon as it does"
            );
        }
        self.registered = is_registered;
        if let Some(names) = [registered, there].into_iter().find(|names| !names.is_empty()) {
            self.names = names;
        }
    }

    fn no_secret(&self) -> String {
        format!(
            "there is no {}; the manifests have an empty one, and no permission to create it is needed",
            self.secret.object.what()
        )
    }
}
