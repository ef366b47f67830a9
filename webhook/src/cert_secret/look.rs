//! One look at both objects, and what is mended there.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    clock::Clocks,
    decide::{SETTLE, Seen, Verdict},
    keeper::Keeper,
    kept::NotPut,
    objects::{Read, WATCH_TIME, version},
    pair::{self, Known, Pair},
    registration,
    secret::Stored,
};
use crate::handler::PATH;

/// What a look has come to.
#[derive(Debug)]
pub(super) struct Looked {
    /// To be shown from now on.
    pub(super) show: Option<Known>,
    /// When to look again, whatever happens.
    pub(super) again: Duration,
    /// What is not as it should be.
    pub(super) problems: Vec<String>,
    /// Another replica was quicker.
    pub(super) overtaken: bool,
    /// The objects' versions, to wait for others; without one for the Secret there is nothing to wait for.
    pub(super) secret: Option<String>,
    pub(super) registration: Watch,
}

/// What to wait for at the registration.
#[derive(Debug)]
pub(super) enum Watch {
    /// For nothing: it can't be read.
    Nothing,
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
    /// Looks once, and mends what it can.
    pub(super) async fn look(&mut self) -> Looked {
        let mut looked = Looked {
            show: None,
            again: WATCH_TIME,
            problems: Vec::new(),
            overtaken: false,
            secret: None,
            registration: Watch::Missing,
        };
        // In this order: see the module.
        let registration = self.registration.object.get().await.unwrap_or_else(|error| {
            looked.problems.push(self.registration.cannot("read", &error));
            looked.registration = Watch::Nothing;
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
                let (now, newest) =
                    (clocks(registration.date), self.shown.as_ref().map(|known| known.pair.clone()));
                (self.with_shown(Stored { newest, ..Stored::default() }, now), now)
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
        let readable = !matches!(looked.registration, Watch::Nothing);
        self.learn_names(registration, readable, &stored);
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
                let names = wanted.newest.as_ref().map(Pair::names).unwrap_or_default();
                let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                tracing::info!(secret = self.secret.object.what(), names, reason, "certificate stored");
                looked.secret = version(&written);
                wanted
            }
            Err(why) => {
                looked.not_put(why);
                // What is not stored is trusted by nobody.
                self.with_shown(stored, now)
            }
        }
    }

    /// What cannot be put into the Secret: what is in use has to be trusted all the same.
    fn with_shown(&self, stored: Stored, now: Clocks) -> Stored {
        let shown = self.shown.as_ref().map(|known| known.authorities.unexpired(now.earlier()));
        Stored { authorities: stored.authorities.with(&shown.unwrap_or_default()), ..stored }
    }

    /// Mends each `caBundle`, and notes since when they are right.
    async fn keep_registration(&mut self, object: Value, stored: &Stored, now: Clocks, looked: &mut Looked) {
        let (mut right, mut mended) = (true, false);
        looked.registration = Watch::Version(version(&object));
        if let Some(corrected) = registration::corrected(&object, &stored.authorities, now.earlier()) {
            match self.registration.put(&corrected).await {
                Ok(written) => {
                    let authorities = stored.authorities.len();
                    tracing::info!(
                        registration = self.registration.object.what(),
                        authorities,
                        "caBundle set"
                    );
                    looked.registration = Watch::Version(version(&written));
                    // API servers have to notice all over again.
                    mended = true;
                }
                Err(why) => {
                    looked.not_put(why);
                    right = false;
                }
            }
        }
        self.trusted = match (self.trusted.take(), &stored.newest) {
            (Some((pair, since)), Some(newest)) if right && !mended && pair == *newest => Some((pair, since)),
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
    fn learn_names(&mut self, registration: Option<&Value>, readable: bool, stored: &Stored) {
        let what = self.registration.object.what();
        let registered = registration.map(registration::names).unwrap_or_default();
        let there = stored.newest.as_ref().map(Pair::names).unwrap_or_default();
        let is_registered = !registered.is_empty();
        if self.registered && !is_registered && readable {
            tracing::warn!(
                "{what} is not there, or asks nobody at {PATH}; its caBundle will be set as soon as it does"
            );
        }
        self.registered = is_registered || (self.registered && !readable);
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
