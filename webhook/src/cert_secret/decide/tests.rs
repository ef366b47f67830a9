//! Tables of what is decided.

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
    let Verdict::Store(back, _) = verdict(&Stored::default(), Some(&shown)) else { panic!("not put back") };
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
    for (shown, trusted_for, expected) in
        [(Some(&old), None, None), (Some(&old), Some(SETTLE), Some(&new.pair)), (None, None, Some(&old.pair))]
    {
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
