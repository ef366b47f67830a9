//! The end, sooner and later.

use std::net::TcpStream;

use nix::sys::signal::Signal;
use testkit::netns::Netns;

use crate::fixture::{Client, LISTEN, server, start, with_address};

const DRAINING: &str = "no more connections are accepted";

#[test]
fn connections_may_end_by_themselves() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let running = start(&["--upstream=127.0.0.1:6443", "--drain-timeout=1h"]);
    let (mut client, _) = Client::greeted();
    running.signal(Signal::SIGTERM);
    assert!(running.wait_for(DRAINING).contains("open=1 timeout=1h0m0s"));
    testkit::eventually(
        || "the end of listening".to_owned(),
        || TcpStream::connect(LISTEN).is_err().then_some(()),
    );
    client.echoes("still here").unwrap();
    drop(client);
    let (status, printed) = running.wait();
    assert!(status.success() && printed.contains("all connections have ended"), "{printed}");
}

#[test]
fn at_the_deadline_they_are_cut() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let running = start(&["--upstream=127.0.0.1:6443", "--drain-timeout=1s"]);
    let (mut client, _) = Client::greeted();
    running.signal(Signal::SIGTERM);
    let (status, printed) = running.wait();
    assert!(
        status.success() && printed.contains("time is up; cutting the connections that are left open=1"),
        "{printed}"
    );
    assert!(client.has_ended());
}

#[test]
fn a_second_signal_cuts_them_at_once() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let running = start(&["--upstream=127.0.0.1:6443", "--drain-timeout=1h"]);
    let (mut client, _) = Client::greeted();
    running.signal(Signal::SIGTERM);
    running.wait_for(DRAINING);
    running.signal(Signal::SIGTERM);
    let (status, printed) = running.wait();
    assert!(status.success() && printed.contains("told again"), "{printed}");
    assert!(client.has_ended());
}
