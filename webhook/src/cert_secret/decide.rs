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
mod tests {
    use super::*;
    use crate::cert_secret::pair::make;

    const DAY: i64 = 86_400;
    const NOW: Clocks = Clocks { server: 1_800_000_000, own: 1_800_000_000 };

    fn days_later(days: i64) -> Clocks {
        Clocks { server: NOW.server + days * DAY, own: NOW.own + days * DAY }
    }

    fn names() -> BTreeSet<String> {
        ["hook.ns.svc".to_owned()].into()
    }

    fn made(days_ago: i64) -> Known {
        make(&names(), days_later(-days_ago)).unwrap()
    }

    fn stored(newest: &Known, previous: Option<&Known>) -> Stored {
        let none = Authorities::default();
        Stored {
            newest: Some(newest.pair.clone()),
            previous: previous.map(|known| known.pair.clone()),
            authorities: newest.authorities.with(previous.map_or(&none, |known| &known.authorities)),
        }
    }

    fn verdict(stored: &Stored, shown: Option<&Known>) -> Verdict {
        Seen { stored, shown, names: &names(), now: NOW }.verdict()
    }

    #[test]
    fn a_good_one_is_kept_until_two_thirds_of_its_life() {
        let (new, old) = (made(0), made(59));
        assert_eq!(verdict(&stored(&new, None), None), Verdict::Keep);
        assert_eq!(verdict(&stored(&new, Some(&old)), Some(&old)), Verdict::Keep);
        assert_eq!(verdict(&stored(&old, None), Some(&old)), Verdict::Keep);
        let Verdict::Make(_, why) = verdict(&stored(&made(61), None), None) else { panic!("not renewed") };
        assert_eq!(why, "two thirds of its life are over");
    }

    #[test]
    fn what_no_api_server_would_accept_is_made_anew() {
        let (good, other) = (made(0), made(0));
        let pair = |certificate: &str, key: &str| {
            Some(Pair { certificate: certificate.to_owned(), key: key.to_owned() })
        };
        let (certificate, key) = (&good.pair.certificate, &good.pair.key);
        for (newest, authorities, reason) in [
            (None, &good.authorities, "none in the Secret"),
            (pair("x", "y"), &good.authorities, "damaged"),
            (pair(certificate, &other.pair.key), &good.authorities, "another's key"),
            (pair(certificate, key), &Authorities::default(), "no API server would accept"),
            (pair(certificate, key), &other.authorities, "no API server would accept"),
        ] {
            let stored = Stored { newest, previous: None, authorities: authorities.clone() };
            let Verdict::Make(_, why) = verdict(&stored, None) else { panic!("kept: {reason}") };
            assert!(why.contains(reason), "{why}");
        }
        for (age, reason) in [(91, "expired"), (-2, "not valid yet")] {
            let Verdict::Make(_, why) = verdict(&stored(&made(age), None), None) else {
                panic!("kept: {reason}")
            };
            assert!(why.contains(reason), "{why}");
        }
        let elsewhere = ["hook.elsewhere.svc".to_owned(), "hook.ns.svc".to_owned()].into();
        let seen = Seen { stored: &stored(&good, None), shown: None, names: &elsewhere, now: NOW };
        let Verdict::Make(_, why) = seen.verdict() else { panic!("kept") };
        assert!(why.contains("under the name hook.elsewhere.svc"), "{why}");
    }

    #[test]
    fn a_secret_that_was_emptied_gets_back_what_is_shown() {
        let (shown, old) = (made(1), made(61));
        let Verdict::Store(back, _) = verdict(&Stored::default(), Some(&shown)) else {
            panic!("not put back")
        };
        assert_eq!(back, stored(&shown, None));
        assert!(matches!(verdict(&Stored::default(), Some(&old)), Verdict::Make(..)), "it is due");
    }

    #[test]
    fn the_ca_of_what_is_shown_is_never_missing() {
        let (mine, theirs) = (made(1), made(0));
        let Verdict::Store(both, _) = verdict(&stored(&theirs, None), Some(&mine)) else { panic!("kept") };
        assert_eq!(both.newest, Some(theirs.pair));
        assert!(both.authorities.contain(&mine.authorities) && both.authorities.contain(&theirs.authorities));
        assert_eq!(verdict(&both, Some(&mine)), Verdict::Keep);
        assert_eq!(verdict(&both, None), Verdict::Keep);
    }

    #[test]
    fn renewal_keeps_the_old_one_until_it_has_expired() {
        let (old, new) = (made(61), made(0));
        let before = stored(&old, None);
        let seen = Seen { stored: &before, shown: Some(&old), names: &names(), now: NOW };
        let after = seen.with(new.clone());
        assert_eq!(after, stored(&new, Some(&old)));
        assert_eq!(verdict(&after, Some(&old)), Verdict::Keep);
        let later = Seen { stored: &after, shown: Some(&new), names: &names(), now: days_later(30) };
        let Verdict::Store(tidy, why) = later.verdict() else { panic!("kept") };
        assert_eq!((tidy, why), (stored(&new, None), "a CA has expired, or is one too many"));
    }

    #[test]
    fn what_is_shown_becomes_the_previous_one_where_the_secret_has_none() {
        let (shown, new) = (made(61), made(0));
        let nothing = Stored::default();
        let seen = Seen { stored: &nothing, shown: Some(&shown), names: &names(), now: NOW };
        assert_eq!(seen.with(new.clone()), stored(&new, Some(&shown)));
    }

    #[test]
    fn a_new_one_is_shown_once_it_is_trusted() {
        let (old, new, expired) = (made(61), made(0), made(91));
        let both = stored(&new, Some(&old));
        let (short, long) = (Some(SETTLE / 2), Some(SETTLE));
        let (old_pair, new_pair) = (Some(&old.pair), Some(&new.pair));
        for (stored, shown, trusted_for, expected) in [
            (&both, Some(&old), None, None),
            (&both, Some(&old), short, None),
            (&both, Some(&old), long, new_pair),
            (&both, Some(&new), long, None),
            (&both, Some(&expired), None, new_pair),
            // After a restart.
            (&both, None, None, old_pair),
            (&both, None, long, new_pair),
            (&stored(&new, None), None, None, new_pair),
            (&stored(&new, Some(&expired)), None, None, new_pair),
            // One that nobody accepts never takes the place of one that works.
            (&stored(&made(-2), Some(&old)), Some(&old), long, None),
            (&Stored { newest: None, ..both.clone() }, Some(&old), long, None),
            (&stored(&expired, None), None, None, None),
        ] {
            let seen = Seen { stored, shown, names: &names(), now: NOW };
            assert_eq!(seen.show(trusted_for), expected, "{trusted_for:?}");
        }
    }

    #[test]
    fn one_that_works_under_a_name_stays_until_the_other_is_trusted() {
        let (old, names) = (made(1), ["hook.ns.svc".to_owned(), "localhost".to_owned()].into());
        let before = stored(&old, None);
        let seen = Seen { stored: &before, shown: Some(&old), names: &names, now: NOW };
        let Verdict::Make(made_for, _) = seen.verdict() else { panic!("kept") };
        assert_eq!(made_for, names);
        let new = make(&made_for, NOW).unwrap();
        let after = seen.with(new.clone());
        assert_eq!(after, stored(&new, Some(&old)));
        for (shown, trusted_for, expected) in [
            (Some(&old), None, None),
            (Some(&old), Some(SETTLE), Some(&new.pair)),
            (None, None, Some(&old.pair)),
        ] {
            let seen = Seen { stored: &after, shown, names: &names, now: NOW };
            assert_eq!(seen.show(trusted_for), expected);
        }
    }

    #[test]
    fn replicas_of_two_registrations_agree() {
        let (one, other) = (["one.ns.svc".to_owned()].into(), ["other.ns.svc".to_owned()].into());
        let mut now_stored = Stored::default();
        for (round, names) in [&one, &other, &one, &other].into_iter().enumerate() {
            let seen = Seen { stored: &now_stored, shown: None, names, now: NOW };
            match seen.verdict() {
                Verdict::Make(names, _) => now_stored = seen.with(make(&names, NOW).unwrap()),
                verdict => assert!(round > 1 && verdict == Verdict::Keep, "{round} {verdict:?}"),
            }
        }
        assert_eq!(now_stored.newest.unwrap().names(), &one | &other);
    }

    #[test]
    fn a_wrong_clock_takes_nothing_away() {
        let (good, old) = (made(0), made(31));
        let both = stored(&good, Some(&old));
        for days in [-1000, -61, 61, 1000] {
            for now in [
                Clocks { server: NOW.server + days * DAY, own: NOW.own },
                Clocks { server: NOW.server, own: NOW.own + days * DAY },
            ] {
                let seen = Seen { stored: &both, shown: Some(&good), names: &names(), now };
                assert_eq!(seen.verdict(), Verdict::Keep, "{days}");
                assert_eq!(seen.show(Some(SETTLE)), None, "{days}");
            }
        }
        assert!(make(&names(), Clocks { server: 253_402_300_799, own: NOW.own }).is_err(), "no panic");
    }

    #[test]
    fn what_is_needed_stays_however_many_are_made() {
        let shown = made(80);
        let mut many = stored(&shown, None);
        for days in (0..20).rev() {
            many.authorities = many.authorities.with(&made(days).authorities);
        }
        many.newest = Some(made(0).pair);
        many.authorities = many.authorities.with(&made(0).authorities);
        let seen = Seen { stored: &many, shown: Some(&shown), names: &names(), now: NOW };
        let after = seen.with(made(0));
        assert!(after.authorities.len() <= 11, "{}", after.authorities.len());
        assert!(!after.authorities.of(&shown.pair, NOW.own).is_empty());
        assert_eq!(after.previous, Some(shown.pair.clone()));
    }
}
