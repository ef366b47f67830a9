//! What has to happen to the Secret, and which certificate to show. Pure.
//!
//! Nothing here needs a leader, or to know which other replicas there are. It rests on these:
//! - Whatever any replica shows, its CA is in the Secret before, and from there in each `caBundle`.
//! - A CA leaves when it has expired. Its certificates have expired with it, so no replica can still be showing one,
//!   however late it is.
//! - A new certificate is shown when this replica has seen the `caBundle` hold its CA for [`SETTLE`]: API servers
//!   that are slow to notice still accept the old one.

use std::{collections::BTreeSet, time::Duration};

use super::{
    authorities::Authorities,
    clock::Clocks,
    pair::{Known, Pair},
    secret::Stored,
};

/// How long API servers get to notice a new `caBundle`.
pub const SETTLE: Duration = Duration::from_secs(30);

/// What this replica sees.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What is in the Secret.
    pub stored: &'a Stored,
    /// What this replica shows.
    pub shown: Option<&'a Known>,
    /// The names that a certificate must be for.
    pub names: &'a BTreeSet<String>,
    /// The time.
    pub now: Clocks,
}

/// What has to happen to the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// It has to hold this, for that reason.
    Store(Stored, &'static str),
    /// A certificate has to be made for these names; [`Seen::with`] says what to store then.
    Make(BTreeSet<String>, String),
}

impl Seen<'_> {
    /// What has to happen to the Secret.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let due = match &self.stored.newest {
            None => Some("there is none in the Secret".to_owned()),
            Some(newest) => self.due(newest, &self.stored.authorities),
        };
        let Some(reason) = due else {
            let tidy = self.tidy();
            return if tidy == *self.stored {
                Verdict::Keep
            } else if tidy.authorities.contain(&self.stored.authorities) {
                Verdict::Store(tidy, "a replica shows a certificate whose CA it lacked")
            } else {
                Verdict::Store(tidy, "a CA has expired, or is one too many")
            };
        };
        // Somebody emptied the Secret, or broke it. What works need not be replaced for that.
        if let Some(shown) = self.shown.filter(|shown| self.stored.newest.as_ref() != Some(&shown.pair)) {
            let stored = Stored { newest: Some(shown.pair.clone()), ..self.tidy() };
            if self.due(&shown.pair, &stored.authorities).is_none() {
                return Verdict::Store(stored, "it did not hold the certificate in use, which is good");
            }
        }
        Verdict::Make(self.names_to_make(), reason)
    }

    /// Those that are wanted, and those of a certificate that is still good: where two registrations share a Secret,
    /// each replica would else make what the others find wanting.
    fn names_to_make(&self) -> BTreeSet<String> {
        let good = |pair: &&Pair| !self.is_old(pair) && !self.of(&self.stored.authorities, pair).is_empty();
        let there = self.stored.newest.as_ref().filter(good).map(Pair::names).unwrap_or_default();
        self.names | &there
    }

    fn is_old(&self, pair: &Pair) -> bool {
        pair.identity().is_none_or(|identity| self.now.earlier() >= identity.renewal())
    }

    /// Why a certificate of the Secret has to be replaced by a new one; none if it need not be.
    fn due(&self, newest: &Pair, authorities: &Authorities) -> Option<String> {
        if newest.identity().is_none() {
            return Some("the one in the Secret is damaged, or has another's key".to_owned());
        }
        if let Err(why) = self.accept(authorities, newest, self.names) {
            return Some(format!("no API server would accept the one in the Secret: {why}"));
        }
        self.is_old(newest).then(|| "two thirds of its life are over".to_owned())
    }

    /// Whether a certificate is accepted by either clock.
    fn accept(&self, authorities: &Authorities, pair: &Pair, names: &BTreeSet<String>) -> Result<(), String> {
        let accepted = authorities.accept(pair, names, self.now.server);
        accepted.or_else(|why| authorities.accept(pair, names, self.now.own).map_err(|_| why))
    }

    /// The CAs of a certificate, of those in question.
    fn of(&self, authorities: &Authorities, pair: &Pair) -> Authorities {
        authorities.of(pair, self.now.server).with(&authorities.of(pair, self.now.own))
    }

    /// The Secret with the CAs of what this replica shows, and without what has expired or is too much.
    fn tidy(&self) -> Stored {
        let mut authorities = self.stored.authorities.clone();
        if let Some(shown) = self.shown
            && self.of(&authorities, &shown.pair).is_empty()
        {
            authorities = authorities.with(&shown.authorities);
        }
        let authorities = authorities.unexpired(self.now.earlier());
        let stored = Stored { authorities, ..self.stored.clone() };
        let previous = stored
            .previous
            .clone()
            .filter(|pair| Seen { stored: &stored, ..*self }.is_accepted_somewhere(pair));
        let shown = self.shown.map(|shown| &shown.pair);
        let pairs = [stored.newest.as_ref(), previous.as_ref(), shown];
        let needed = pairs.into_iter().flatten().map(|pair| self.of(&stored.authorities, pair));
        let needed = needed.fold(Authorities::default(), |all, some| all.with(&some));
        Stored { authorities: stored.authorities.limited(&needed), previous, newest: stored.newest }
    }

    /// What the Secret has to hold once a new certificate was made. Of the others, the newest that is still of use
    /// becomes the previous one.
    #[must_use]
    pub fn with(&self, made: Known) -> Stored {
        let tidy = self.tidy();
        let seen = Seen { stored: &tidy, ..*self };
        let candidates = [&tidy.newest, &self.shown.map(|shown| shown.pair.clone()), &tidy.previous];
        let previous =
            candidates.into_iter().flatten().find(|pair| seen.is_accepted_somewhere(pair)).cloned();
        Stored { newest: Some(made.pair), previous, authorities: made.authorities.with(&tidy.authorities) }
    }

    /// Whether API servers accept it under all names, once they know of the CAs in the Secret.
    fn is_good(&self, pair: &Pair) -> bool {
        pair.identity().is_some() && self.accept(&self.stored.authorities, pair, self.names).is_ok()
    }

    /// Whether they do so under one at least.
    #[must_use]
    pub fn is_accepted_somewhere(&self, pair: &Pair) -> bool {
        let accepted =
            |name: &String| self.accept(&self.stored.authorities, pair, &[name.clone()].into()).is_ok();
        pair.identity().is_some() && self.names.iter().any(accepted)
    }

    /// Which certificate of the Secret to show from now on, if it is another one. `trusted_for` is how long every
    /// `caBundle` has been seen to be as it should. One that nobody accepts is never shown, and one that somebody
    /// accepts not given up before its time.
    #[must_use]
    pub fn show(&self, trusted_for: Option<Duration>) -> Option<&Pair> {
        let newest = self.stored.newest.as_ref().filter(|newest| self.is_good(newest));
        let previous = self.stored.previous.as_ref().filter(|previous| self.is_accepted_somewhere(previous));
        let settled = trusted_for.is_some_and(|time| time >= SETTLE);
        match self.shown.map(|shown| &shown.pair) {
            Some(shown) if newest == Some(shown) => None,
            Some(shown) if self.is_accepted_somewhere(shown) => newest.filter(|_| settled),
            None if !settled => previous.or(newest),
            _ => newest.or(previous),
        }
    }
}

#[cfg(test)]
mod tests;
