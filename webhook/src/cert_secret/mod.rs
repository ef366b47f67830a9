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
//! Time is told by the API server's clock, which is the one that certificates are measured by. No failure in here
//! keeps anybody waiting: the certificate in use stays in use.

pub mod authorities;
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
    decide::{SETTLE, Seen, Verdict},
    kept::{Kept, NotPut},
    objects::{Object, WATCH_TIME},
    pair::{Known, Pair},
    secret::Stored,
};
use crate::{certificates::Certificates, handler::PATH, metrics::Metrics, tls::Material};

/// How long the first certificate may take.
const START_TIME: Duration = Duration::from_secs(20);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The time between two looks where the API server does not tell of changes.
const POLL_TIME: Duration = Duration::from_secs(30);
/// The wait of who was overtaken by another replica.
const OVERTAKEN_WAIT: Duration = Duration::from_millis(100);

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
    /// The objects as they are now.
    secret: Option<Value>,
    registration: Option<Value>,
}

impl Looked {
    fn failed(problem: String, again: Duration) -> Self {
        Self { problems: vec![problem], again, ..Self::new() }
    }

    fn new() -> Self {
        Self { show: None, again: WATCH_TIME, problems: Vec::new(), secret: None, registration: None }
    }

    fn not_put(&mut self, why: NotPut) {
        match why {
            NotPut::Held(time) => self.again = self.again.min(time),
            NotPut::Overtaken => self.again = OVERTAKEN_WAIT,
            NotPut::Failed(problem) => {
                self.again = self.again.min(LONGEST_WAIT);
                self.problems.push(problem);
            }
        }
    }
}

impl Keeper {
    /// Finds out how to reach the API server.
    ///
    /// # Errors
    /// When there is none to be found.
    pub async fn connect(place: &Place) -> anyhow::Result<Self> {
        connect::configuration().await?;
        let secret = Object::secret(&place.namespace, &place.secret);
        let registration = Object::webhook_configuration(&place.registration);
        Ok(Self {
            secret: Kept::new(secret, "leave its data out of what is applied"),
            registration: Kept::new(
                registration,
                "have caBundle left out of what is applied (Argo CD: ignoreDifferences with jqPathExpressions \
                 .webhooks[].clientConfig.caBundle)",
            ),
            registered: true,
            names: [format!("apiserver-proxy-pod-webhook.{}.svc", place.namespace)].into(),
            shown: None,
            trusted: None,
        })
    }

    /// Looks until there is a certificate.
    ///
    /// # Errors
    /// What was in the way for too long.
    pub async fn first(&mut self) -> anyhow::Result<Material> {
        let mut backoff = Backoff::new(LONGEST_WAIT);
        let deadline = Instant::now() + START_TIME;
        loop {
            let looked = self.look().await;
            if let Some(known) = looked.show {
                let material = known.pair.material();
                self.shown = Some(known);
                return Ok(material);
            }
            let (wait, problem) = (backoff.failed(), looked.problems.join("; "));
            if Instant::now() + wait > deadline {
                anyhow::bail!("no certificate after {} s (--cert-secret): {problem}", START_TIME.as_secs());
            }
            if !problem.is_empty() {
                tracing::warn!(problem, "no certificate yet, trying again");
            }
            tokio::time::sleep(wait).await;
        }
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
            match &looked.secret {
                Some(_) => {
                    backoff.succeeded();
                    self.wait(&looked).await;
                }
                None => tokio::time::sleep(backoff.failed()).await,
            }
        }
    }

    /// Waits until something has changed, or it is time.
    async fn wait(&self, looked: &Looked) {
        let changed = async {
            let told = tokio::select! {
                told = self.secret.object.changed(looked.secret.as_ref()) => told,
                told = self.registration.object.changed(looked.registration.as_ref()) => told,
            };
            if let Err(error) = told {
                tracing::debug!(%error, "no word of changes; looking now and then");
                tokio::time::sleep(POLL_TIME).await;
            }
        };
        let _ = tokio::time::timeout(looked.again, changed).await;
    }

    /// Looks once, and mends what it can.
    async fn look(&mut self) -> Looked {
        // In this order: see the module.
        let registration = self.registration.object.get().await;
        let (mut secret, now) = match self.secret.object.get().await {
            Ok(read) => match read.object {
                Some(secret) => (secret, read.now),
                None => return Looked::failed(self.no_secret(), LONGEST_WAIT),
            },
            Err(error) => return Looked::failed(self.secret.cannot("read", &error), LONGEST_WAIT),
        };
        let mut looked = Looked::new();
        let registration = match registration {
            Ok(read) => read.object,
            Err(error) => {
                looked.problems.push(self.registration.cannot("read", &error));
                None
            }
        };
        let mut stored = Stored::read(&secret);
        self.learn_names(registration.as_ref(), &stored);

        match self.wanted(&stored, now) {
            Ok(None) => {}
            Ok(Some(wanted)) => {
                wanted.write(&mut secret);
                match self.secret.put(&secret).await {
                    Ok(written) => (secret, stored) = (written, wanted),
                    Err(why) => {
                        looked.not_put(why);
                        // As it was: what is not stored is not trusted by anybody.
                        stored.write(&mut secret);
                    }
                }
            }
            Err(problem) => looked.problems.push(problem),
        }
        looked.registration = match registration {
            Some(registration) => Some(self.keep_registration(registration, &stored, now, &mut looked).await),
            None => {
                self.trusted = None;
                None
            }
        };
        looked.secret = Some(secret);
        self.choose(&stored, now, &mut looked);
        looked.problems.extend(self.secret.fight());
        looked.problems.extend(self.registration.fight());
        looked
    }

    /// What the Secret has to hold, if that is not what it holds.
    fn wanted(&self, stored: &Stored, now: i64) -> Result<Option<Stored>, String> {
        let seen = Seen { stored, shown: self.shown.as_ref(), names: &self.names, now };
        let (wanted, reason) = match seen.verdict() {
            Verdict::Keep => return Ok(None),
            Verdict::Store(wanted, reason) => (wanted, reason.to_owned()),
            Verdict::Make(reason) => (seen.with(pair::make(&self.names, now)?), reason),
        };
        let names = self.names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        tracing::info!(secret = self.secret.object.what(), names, reason, "writing the certificate's Secret");
        Ok(Some(wanted))
    }

    /// Mends each `caBundle`, and notes since when they are right. Returns what the registration is now.
    async fn keep_registration(
        &mut self,
        mut object: Value,
        stored: &Stored,
        now: i64,
        looked: &mut Looked,
    ) -> Value {
        let mut right = true;
        if let Some(corrected) = registration::corrected(&object, &stored.authorities, now) {
            match self.registration.put(&corrected).await {
                Ok(written) => {
                    let authorities = stored.authorities.len();
                    tracing::info!(
                        registration = self.registration.object.what(),
                        authorities,
                        "caBundle set"
                    );
                    object = written;
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
        object
    }

    /// Which certificate to show, and when to ask again.
    fn choose(&self, stored: &Stored, now: i64, looked: &mut Looked) {
        let trusted_for = self.trusted.as_ref().map(|(_, since)| since.elapsed());
        let seen = Seen { stored, shown: self.shown.as_ref(), names: &self.names, now };
        let known = |pair: &Pair| Known { pair: pair.clone(), authorities: stored.authorities.clone() };
        looked.show = seen.show(trusted_for).map(known);
        let showing = looked.show.as_ref().or(self.shown.as_ref()).map(|known| &known.pair);
        if showing != stored.newest.as_ref()
            && let Some(time) = trusted_for
        {
            looked.again = looked.again.min(SETTLE.saturating_sub(time).max(OVERTAKEN_WAIT));
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
