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
    proxy.shared.endpoints.load().all()[index].open()
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
    sh("nft 'add table ip t; add chain ip t out { type filter hook output priority 0; }; \
        add rule ip t out tcp flags & rst == rst accept; \
        add rule ip t out ip daddr 10.0.0.1 tcp flags & (syn | ack) == syn reject with tcp reset; \
        add rule ip t out ip daddr 10.0.0.1 drop'");
    println!("refused: {:?}", dial(&proxy, begun));
    assert_eq!(alive(&mut streams), 10);
}

#[test]
fn black_holed() {
    let _netns = Netns::enter();
    let (proxy, _servers, mut streams) = open(every_second());
    let begun = Instant::now();
    sh("nft 'add table ip t; add chain ip t out { type filter hook output priority 0; }; \
        add rule ip t out ip daddr 10.0.0.1 drop; add rule ip t out ip saddr 10.0.0.1 drop'");
    println!("black-holed: {:?}", dial(&proxy, begun));
    assert_eq!(alive(&mut streams), 10);
    sh("nft delete table ip t");
    proxy.wait_for("10.0.0.1:443 10.0.0.2:443");
}

#[test]
fn the_last_one_keeps_its_connections() {
    let _netns = Netns::enter();
    let (proxy, [_one, two], mut streams) = open(every_second());
    // Half of them are gone.
    two.kill();
    proxy.wait_for("10.0.0.1:443 !10.0.0.2:443");
    sh("nft 'add table ip t; add chain ip t out { type filter hook output priority 0; }; \
        add rule ip t out ip daddr 10.0.0.1 tcp flags & (syn | ack) == syn drop'");
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
    proxy.shared.endpoints.load().all()[used].set_health(false, true);
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
