//! Endpoints that die while connections are open. What it took is printed; nothing is asserted of time but that it comes
//! to pass.

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use proxy::{
    health::{Check, HealthSettings},
    protocol::Protocol,
};
use testkit::{netns::Netns, process::sh};

use crate::{
    proxy::{Proxy, checks, echoes, no_checks, upstreams},
    servers::{Kind, Server, serve},
};

/// As the promise is for.
fn every_second() -> HealthSettings {
    HealthSettings { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), ..checks(Check::Tcp) }
}

/// Two endpoints, and connections open on both; those of the first.
fn open(checks: HealthSettings) -> (Proxy, [Server; 2], Vec<TcpStream>) {
    let servers = [serve("10.0.0.1:443", Kind::Echo), serve("10.0.0.2:443", Kind::Echo)];
    let proxy = Proxy::start(upstreams(&["10.0.0.1:443", "10.0.0.2:443"]), Protocol::Tcp, checks);
    proxy.wait_for("10.0.0.1:443 10.0.0.2:443");
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = proxy.connect();
        echoes(&mut stream).unwrap();
        streams.push(stream);
    }
    assert_eq!(count(&proxy, 0), 10);
    (proxy, servers, streams)
}

/// Connections that are open to an endpoint.
fn count(proxy: &Proxy, index: usize) -> u32 {
    proxy.endpoint(index).open()
}

/// What clients saw of a failure.
#[derive(Debug, Default)]
struct Seen {
    /// For so long some new connections failed.
    failing: Duration,
    /// The longest that one took which did not.
    longest: Duration,
    /// When all that were open to the endpoint that failed had ended.
    closed: Option<Duration>,
}

/// Dials until all connections to the first endpoint have ended, and some seconds more.
fn dial(proxy: &Proxy, begun: Instant) -> Seen {
    let mut seen = Seen::default();
    while seen.closed.is_none_or(|closed| begun.elapsed() < closed + Duration::from_secs(3)) {
        let dialled = Instant::now();
        match echoes(&mut proxy.connect()) {
            Ok(()) => seen.longest = seen.longest.max(dialled.elapsed()),
            Err(_) => seen.failing = begun.elapsed(),
        }
        if count(proxy, 0) == 0 {
            seen.closed.get_or_insert(begun.elapsed());
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{} are still open", count(proxy, 0));
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

/// Rules for what is sent in this namespace, from or to anybody.
fn filter(rules: &[&str]) {
    let chain = "add table ip t; add chain ip t out { type filter hook output priority 0; }";
    let rules = rules.iter().map(|rule| format!("; add rule ip t out {rule}"));
    sh(&format!("nft '{chain}{}'", rules.collect::<String>()));
}

/// Nothing reaches the first endpoint any more, and nothing comes from it.
fn black_hole() {
    filter(&["ip daddr 10.0.0.1 drop", "ip saddr 10.0.0.1 drop"]);
}

/// So many are open still, of those that were.
fn alive(streams: &mut [TcpStream]) -> usize {
    streams.iter_mut().filter_map(|stream| echoes(stream).ok()).count()
}

#[test]
fn killed() {
    let _netns = Netns::enter();
    let (proxy, [one, _two], mut streams) = open(every_second());
    let begun = Instant::now();
    one.kill();
    println!("killed: {:?}", dial(&proxy, begun));
    assert_eq!(alive(&mut streams), 10);
    assert_eq!(proxy.endpoints(), "!10.0.0.1:443 10.0.0.2:443");
}

#[test]
fn refused_by_a_machine_that_is_there() {
    let _netns = Netns::enter();
    let (proxy, _servers, mut streams) = open(every_second());
    let begun = Instant::now();
    // Connections that are open hear nothing; new ones are refused.
    filter(&[
        "tcp flags & rst == rst accept",
        "ip daddr 10.0.0.1 tcp flags & (syn | ack) == syn reject with tcp reset",
        "ip daddr 10.0.0.1 drop",
    ]);
    println!("refused: {:?}", dial(&proxy, begun));
    assert_eq!(alive(&mut streams), 10);
}

#[test]
fn black_holed() {
    let _netns = Netns::enter();
    let (proxy, _servers, mut streams) = open(every_second());
    let begun = Instant::now();
    black_hole();
    println!("black-holed: {:?}", dial(&proxy, begun));
    assert_eq!(alive(&mut streams), 10);
    sh("nft delete table ip t");
    proxy.wait_for("10.0.0.1:443 10.0.0.2:443");
}

/// More rarely than by default, so that it is not the checks that find things out.
fn every_minute() -> HealthSettings {
    HealthSettings { interval: Duration::from_secs(60), ..every_second() }
}

/// Opens fifty more connections over some four seconds, and says how many of them took about as long as the second
/// endpoint is waited with.
fn dial_fifty(proxy: &Proxy, streams: &mut Vec<TcpStream>) -> usize {
    let slow = (0..50).filter(|_| {
        let (mut stream, dialled) = (proxy.connect(), Instant::now());
        echoes(&mut stream).unwrap();
        let took = dialled.elapsed();
        streams.push(stream);
        std::thread::sleep(Duration::from_millis(60));
        took > Duration::from_millis(200)
    });
    slow.count()
}

#[test]
fn one_dial_finds_out_that_nobody_answers() {
    let _netns = Netns::enter();
    let (proxy, _servers, mut streams) = open(every_minute());
    black_hole();
    let slow = dial_fifty(&proxy, &mut streams);
    println!("black-holed, checked every minute: {slow} of 50 dials waited for the next endpoint");
    assert!(slow <= 5, "{slow} of 50");
    // It has not failed: what is open to it stays, and goes on if it comes back.
    assert!(proxy.endpoint(0).is_healthy() && proxy.endpoint(0).is_suspected());
    sh("nft delete table ip t");
    assert_eq!(alive(&mut streams), 70);
}

#[test]
fn one_packet_that_is_lost_changes_little() {
    let _netns = Netns::enter();
    let (proxy, _servers, mut streams) = open(every_minute());
    filter(&[
        "ip daddr 10.0.0.1 tcp flags & (syn | ack) == syn limit rate 1/day burst 1 packets counter drop",
    ]);
    let slow = dial_fifty(&proxy, &mut streams);
    assert!(sh("nft list table ip t").contains("counter packets 1 "), "one was lost");
    println!("one SYN lost: {slow} of 50 dials waited for the next endpoint");
    assert!(slow <= 5, "{slow} of 50");
    // A check has cleared it, and it has its share again.
    testkit::eventually(
        || "an end of suspicion".to_owned(),
        || (!proxy.endpoint(0).is_suspected()).then_some(()),
    );
    for _ in 0..50 {
        let mut stream = proxy.connect();
        echoes(&mut stream).unwrap();
        streams.push(stream);
    }
    let (first, second) = (count(&proxy, 0), count(&proxy, 1));
    assert!(first.abs_diff(second) <= 4, "{first} and {second}");
    assert_eq!((alive(&mut streams), proxy.endpoints()), (120, "10.0.0.1:443 10.0.0.2:443".to_owned()));
}

#[test]
fn the_last_one_keeps_its_connections() {
    let _netns = Netns::enter();
    let (proxy, [_one, two], mut streams) = open(every_second());
    // Half of them are gone.
    two.kill();
    proxy.wait_for("10.0.0.1:443 !10.0.0.2:443");
    filter(&["ip daddr 10.0.0.1 tcp flags & (syn | ack) == syn drop"]);
    proxy.wait_for("!10.0.0.1:443 !10.0.0.2:443");
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(alive(&mut streams), 10, "no healthy endpoint is left to go to");
}

#[test]
fn a_connect_that_fails_is_followed_by_a_check_soon() {
    let _netns = Netns::enter();
    let server = serve("10.0.0.1:443", Kind::Echo);
    let _other = serve("10.0.0.2:443", Kind::Echo);
    let slow = HealthSettings { interval: Duration::from_secs(3600), ..no_checks() };
    let proxy = Proxy::start(upstreams(&["10.0.0.1:443", "10.0.0.2:443"]), Protocol::Tcp, slow);
    proxy.wait_for("10.0.0.1:443 10.0.0.2:443");
    server.kill();
    testkit::eventually(
        || "a connection that finds it out".to_owned(),
        || {
            echoes(&mut proxy.connect()).unwrap();
            (proxy.endpoints() == "!10.0.0.1:443 10.0.0.2:443").then_some(())
        },
    );
    let _again = serve("10.0.0.1:443", Kind::Echo);
    let begun = Instant::now();
    proxy.wait_for("10.0.0.1:443 10.0.0.2:443");
    println!("a check came after {:?}", begun.elapsed());
}

#[test]
fn what_a_client_sees_of_a_failed_endpoint_is_a_reset() {
    let _netns = Netns::enter();
    let _server = serve("10.0.0.1:443", Kind::Echo);
    let _other = serve("10.0.0.2:443", Kind::Echo);
    let proxy = Proxy::start(upstreams(&["10.0.0.1:443", "10.0.0.2:443"]), Protocol::Tcp, no_checks());
    proxy.wait_for("10.0.0.1:443 10.0.0.2:443");
    let mut stream = proxy.connect();
    echoes(&mut stream).unwrap();
    let used = usize::from(count(&proxy, 0) == 0);
    proxy.endpoint(used).set_health(false, true);
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
