//! Endpoints by name.

use std::{fmt::Write, time::Duration};

use proxy::protocol::Protocol;

use crate::{
    dns::Dns,
    proxy::{Proxy, echoes, no_checks, upstreams},
    servers::{Kind, serve},
};

fn start(texts: &[&str]) -> Proxy {
    Proxy::start(upstreams(texts), Protocol::Tcp, no_checks())
}

/// Longer than from one question to the next.
fn a_round() {
    std::thread::sleep(Duration::from_secs(6));
}

#[test]
fn answers_that_change_move_new_connections_only() {
    let mut dns = Dns::enter();
    let (_one, _two) = (serve("10.0.0.1:443", Kind::Echo), serve("10.0.0.2:443", Kind::Echo));
    dns.answer("10.0.0.1 api.example\n");
    dns.start(0);
    let proxy = start(&["api.example:443"]);
    proxy.wait_for("10.0.0.1:443");
    let mut stays = proxy.connect();
    echoes(&mut stays).unwrap();
    dns.answer("10.0.0.2 api.example\nfd00::2 api.example\n");
    proxy.wait_for("10.0.0.2:443 [fd00::2]:443");
    echoes(&mut stays).unwrap();
    for _ in 0..10 {
        echoes(&mut proxy.connect()).unwrap();
    }
    // A TTL of 0 is no reason to ask all the time.
    let before = dns.log().matches("query[A] api.example").count();
    a_round();
    let asked = dns.log().matches("query[A] api.example").count() - before;
    assert!((1..=2).contains(&asked), "{asked} times in six seconds");
}

#[test]
fn what_was_answered_outlives_dns() {
    let mut dns = Dns::enter();
    let proxy = start(&["api.example:443"]);
    // There is nobody to ask. That is no reason to end.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(proxy.endpoints(), "");
    dns.answer("10.0.0.1 api.example\n10.0.0.2 api.example\n");
    dns.start(0);
    proxy.wait_for("10.0.0.1:443 10.0.0.2:443");
    dns.stop();
    a_round();
    a_round();
    assert_eq!(proxy.endpoints(), "10.0.0.1:443 10.0.0.2:443");
    // There is no such name any more.
    dns.answer("");
    dns.start(0);
    a_round();
    a_round();
    assert!(dns.log().contains("config api.example is NXDOMAIN"), "{}", dns.log());
    assert_eq!(proxy.endpoints(), "10.0.0.1:443 10.0.0.2:443");
    dns.answer("10.0.0.3 api.example\n");
    proxy.wait_for("10.0.0.3:443");
}

#[test]
fn large_answers() {
    let records = |count: u32| {
        (1..=count).fold(String::new(), |mut text, number| {
            let _ = writeln!(text, "{} many.example", std::net::Ipv4Addr::from(0x0a00_0000 + number));
            text
        })
    };
    let mut dns = Dns::enter();
    dns.answer(&records(50));
    dns.start(0);
    let proxy = start(&["many.example:443"]);
    let count = || proxy.shared.endpoints.load().all().len();
    testkit::eventually(|| format!("50, not {}", count()), || (count() == 50).then_some(()));
    dns.answer(&records(400));
    testkit::eventually(|| format!("256, not {}", count()), || (count() == 256).then_some(()));
}

#[test]
fn hosts_and_search_domains_count() {
    let mut dns = Dns::enter();
    dns.answer("10.0.0.1 short.a.example\n10.0.0.2 other.example\n");
    dns.start(0);
    let proxy = start(&["short:1", "other:2", "here:3", "missing.example:4"]);
    proxy.wait_for("10.0.0.1:1 10.0.0.2:2");
    dns.hosts("10.0.0.9 x here # not this\nfd00::9 here\n");
    proxy.wait_for("10.0.0.1:1 10.0.0.2:2 10.0.0.9:3 [fd00::9]:3");
    dns.hosts("10.0.0.10 here\n");
    proxy.wait_for("10.0.0.1:1 10.0.0.2:2 10.0.0.10:3");
}

#[test]
fn sources_change_while_running() {
    let mut dns = Dns::enter();
    dns.answer("10.0.0.1 one.example\n10.0.0.2 two.example\n");
    dns.start(300);
    let proxy = start(&["one.example:1", "10.0.0.7:7"]);
    proxy.wait_for("10.0.0.1:1 10.0.0.7:7");
    let change = |texts: &[&str]| {
        proxy.sources.send_modify(|sources| sources.upstreams = upstreams(texts).upstreams);
    };
    change(&["one.example:1", "two.example:2"]);
    proxy.wait_for("10.0.0.1:1 10.0.0.2:2");
    change(&["two.example:22", "[fd00::1]:1"]);
    proxy.wait_for("10.0.0.2:22 [fd00::1]:1");
    // A name that nobody knows is no reason to be without any.
    change(&["three.example:3"]);
    a_round();
    assert_eq!(proxy.endpoints(), "10.0.0.2:22 [fd00::1]:1");
    dns.answer("10.0.0.3 three.example\n");
    proxy.wait_for("10.0.0.3:3");
}

#[test]
fn our_own_addresses_are_never_endpoints() {
    let mut dns = Dns::enter();
    testkit::process::sh("ip addr add 10.0.0.5/32 dev lo; ip route add 10.0.0.0/24 dev lo");
    dns.answer("10.0.0.5 api.example\n10.0.0.6 api.example\n127.0.0.1 api.example\n0.0.0.0 api.example\n");
    dns.start(0);
    let all = "0.0.0.0:7443".parse().unwrap();
    let proxy = Proxy::listen(all, upstreams(&["api.example:7443"]), Protocol::Tcp, no_checks());
    proxy.wait_for("10.0.0.6:7443");
    // None left is none: to go on with an own one would be a loop.
    dns.answer("10.0.0.5 api.example\n");
    proxy.wait_for("");
    proxy.sources.send_modify(|sources| sources.upstreams = upstreams(&["10.0.0.5:443"]).upstreams);
    proxy.wait_for("10.0.0.5:443");
}
