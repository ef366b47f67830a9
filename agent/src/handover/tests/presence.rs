//! Who announces what, and who sees it.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::Signal::{SIGKILL, SIGSTOP},
    unistd::geteuid,
};
use testkit::{eventually, netns::Netns};

use super::{
    super::{
        announce::{AnnounceError, Announcement},
        claim::{Instance, InstanceId, Kind, Rules},
        kept::Kept,
        living::{living, living_of},
        names::{Name, parse_names},
        socket,
    },
    LONG, binder, busy_binder, claims, foreign_binder, many_addresses, name, nobody_left, seen, take,
};

#[test]
fn what_is_published_is_seen_by_others_until_it_is_withdrawn() {
    let _netns = Netns::enter();
    assert_eq!(seen(), []);
    let wanted = claims("lo", &["10.96.0.2", "fd00::2"], Rules::In(Kind::Nftables));
    let announcement = Announcement::publish(InstanceId::random(), &wanted).unwrap();
    let whole = Instance { id: announcement.id(), claims: wanted.each().collect() };
    // Nobody accepts the connections that looking makes; it can be done again all the same.
    for _ in 0..3 {
        assert_eq!(seen(), std::slice::from_ref(&whole));
        assert_eq!(living(announcement.id()).unwrap(), [], "itself");
    }
    let other =
        Announcement::publish(InstanceId::random(), &claims("lo", &["10.96.0.2"], Rules::None)).unwrap();
    assert_eq!(living(other.id()).unwrap(), [whole], "two with the same address");
    drop(other);
    announcement.withdraw();
    nobody_left();
}

#[test]
fn rules_decided_later_are_announced_without_a_gap() {
    let _netns = Netns::enter();
    // Many, so that a look at them takes long enough to be overtaken.
    let addresses = many_addresses();
    let undecided = claims("lo", &addresses, Rules::Undecided);
    let decided = claims("lo", &addresses, Rules::In(Kind::Nftables));
    for _ in 0..20 {
        let mut announcement = Announcement::publish(InstanceId::random(), &undecided).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // Under their rules of before or of after, all addresses are there all the time.
            let looking = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (kept, port) = (Kept::of(&seen()), undecided.port);
                    assert!(kept.wants_table(&undecided.addresses, port), "{kept:?}");
                }
            });
            let replaced = announcement.replace(&decided);
            done.store(true, Ordering::Relaxed);
            replaced.unwrap();
            looking.join().unwrap();
        });
        let wanted: BTreeSet<_> = decided.each().collect();
        eventually(
            || format!("only what was decided, but there is {:?}", seen()),
            || (seen().first()?.claims == wanted).then_some(()),
        );
        announcement.replace(&claims("lo", &[""; 0], Rules::None)).unwrap();
        nobody_left();
    }
}

#[test]
fn a_name_that_is_taken_leaves_all_as_it_was() {
    let _netns = Netns::enter();
    let one = claims("lo", &["10.96.0.2"], Rules::None);
    let mut announcement = Announcement::publish(InstanceId::random(), &one).unwrap();
    let more = claims("lo", &["10.96.0.1", "10.96.0.2", "10.96.0.3"], Rules::None);
    let last = Name { instance: announcement.id(), claim: more.each().last().unwrap() };
    let thief = socket::bind(&last.to_string()).unwrap();
    let error = announcement.replace(&more).unwrap_err();
    assert!(matches!(&error, AnnounceError::Taken(name) if *name == last), "{error}");
    drop(thief);
    let before = one.each().collect::<BTreeSet<_>>();
    eventually(|| format!("{before:?}"), || (seen().first()?.claims == before).then_some(()));
}

#[test]
fn a_killed_instance_is_gone_and_a_stopped_one_is_not() {
    let _netns = Netns::enter();
    let name = name("10.96.0.2", Rules::In(Kind::Iptables));
    let other = binder(&[&name.to_string()]);
    let there = Instance { id: name.instance, claims: BTreeSet::from([name.claim]) };
    assert_eq!(seen(), std::slice::from_ref(&there));
    other.signal(SIGSTOP);
    assert_eq!(seen(), [there]);
    other.signal(SIGKILL);
    other.wait();
    nobody_left();
}

#[test]
fn network_namespaces_do_not_see_one_another() {
    let _netns = Netns::enter();
    let _announcement =
        Announcement::publish(InstanceId::random(), &claims("lo", &["10.96.0.2"], Rules::None)).unwrap();
    let _lock = take(LONG).unwrap();
    let elsewhere = thread::spawn(|| {
        let _netns = Netns::enter();
        (seen(), take(Duration::ZERO).is_ok())
    });
    assert_eq!(elsewhere.join().unwrap(), (vec![], true));
    assert_eq!(seen().len(), 1);
}

#[test]
fn instances_of_other_users_are_left_out() {
    let _netns = Netns::enter();
    let (own, uid) = (InstanceId::random(), geteuid().as_raw());
    let _announcement =
        Announcement::publish(InstanceId::random(), &claims("lo", &["10.96.0.2"], Rules::None)).unwrap();
    assert_eq!(living_of(own, uid + 1).unwrap(), (vec![], BTreeSet::from([uid])));
    let Some(_other) = foreign_binder(&[&name("10.96.0.3", Rules::None).to_string()]) else {
        return testkit::skipped("names of another user", "there is no other user in this user namespace");
    };
    let (instances, foreign) = living_of(own, uid).unwrap();
    assert_eq!((instances.len(), foreign), (1, BTreeSet::from([65534])));
    assert_eq!(seen().len(), 1);
}

#[test]
fn forged_lines_are_looked_up_and_left_out() {
    let _netns = Netns::enter();
    let (forged, real) = (name("10.96.0.2", Rules::None), name("10.96.0.3", Rules::None));
    let line = format!("x\n0: 2 0 10000 1 1 7 @{forged}");
    let _forger = binder(&[
        &line,
        "\n\n",
        &"x".repeat(107),
        &format!("{real}\n"),
        &format!("{real}x/"),
        &real.to_string(),
    ]);
    let listing = std::fs::read("/proc/thread-self/net/unix").unwrap();
    let found = parse_names(&listing);
    assert_eq!(found, BTreeSet::from([forged, real.clone()]), "both are in the list");
    assert_eq!(seen(), [Instance { id: real.instance, claims: BTreeSet::from([real.claim]) }]);
}

#[test]
fn an_instance_with_a_full_queue_lives() {
    let _netns = Netns::enter();
    let name = name("10.96.0.2", Rules::None);
    let _other = busy_binder(&name.to_string());
    assert_eq!(seen().len(), 1);
}

#[test]
fn many_addresses_and_the_longest_names() {
    let _netns = Netns::enter();
    let addresses = many_addresses();
    let mut wanted = claims("fünfzehn-bytes", &addresses, Rules::In(Kind::Nftables));
    wanted.port = 65535.try_into().unwrap();
    let announcement = Announcement::publish(InstanceId::random(), &wanted).unwrap();
    assert_eq!(seen(), [Instance { id: announcement.id(), claims: wanted.each().collect() }]);
}
