//! Health pages, metrics and probes.

use std::process::Command;

use testkit::{eventually, netns::Netns, process::Running};

use crate::fixture::{Client, apart, binary, metric, page, scene, start, with_address};

fn probe(args: &[&str]) -> (Option<i32>, String) {
    outcome(binary().arg("probe").args(args))
}

fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let (status, printed) = Running::start(command).wait();
    (status.code(), printed)
}

#[test]
fn they_tell_how_it_goes() {
    let _netns = scene();
    let running = start(&["--upstream=127.0.0.1:6443"]);
    eventually(|| probe(&["ready"]).1, || (probe(&["ready"]).0 == Some(0)).then_some(()));
    let (_, printed) = probe(&["ready"]);
    for line in ["[+]listening ok: 10.96.0.2:443", "[+]endpoints ok: 1 of 1 healthy"] {
        assert!(printed.contains(line), "{printed}");
    }
    let (mut client, _) = Client::greeted();
    client.echoes("x").unwrap();
    let (_, text) = page("/statusz");
    for line in
        ["Listening: 10.96.0.2:443", "Connections: 1", "Endpoint: 127.0.0.1:6443 healthy, 1 connections"]
    {
        assert!(text.contains(line), "{text}");
    }
    drop(client);
    let ended = || (metric("apiserver_proxy_connections_total{result=\"ok\"}") == 1).then_some(());
    eventually(|| "a connection's end".to_owned(), ended);
    for (name, value) in [
        ("connections_open", 0),
        ("connections_total{result=\"unreachable\"}", 0),
        ("bytes_total{direction=\"from_client\"}", 2),
        ("bytes_total{direction=\"to_client\"}", 6),
        ("upstream_healthy{endpoint=\"127.0.0.1:6443\"}", 1),
        ("upstream_connect_errors_total{reason=\"refused\"}", 0),
        ("accept_paused_total", 0),
        ("connection_duration_seconds_count", 1),
        ("upstream_connect_duration_seconds_count", 1),
    ] {
        assert_eq!(metric(&format!("apiserver_proxy_{name}")), value, "{name}");
    }
    assert!(page("/metrics").1.contains("apiserver_proxy_build_info{"));
    let (client, _) = Client::greeted();
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait_for("no more connections");
    let (code, printed) = probe(&["ready"]);
    assert!(
        code == Some(1) && printed.contains("[-]shutdown failed: stopping; 1 connections are open"),
        "{printed}"
    );
    assert_eq!(probe(&["live"]).0, Some(0));
    drop(client);
    running.wait();
    assert_eq!(probe(&["ready"]).0, Some(1));
}

#[test]
fn a_probe_may_come_from_another_pid_namespace() {
    let _netns = scene();
    let _running = start(&["--upstream=127.0.0.1:6443", "--probe-socket=@here"]);
    let (code, printed) = outcome(&mut apart(binary().args(["probe", "live", "--probe-socket=@here"])));
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn refused_connects_are_told() {
    let _netns = Netns::enter();
    with_address();
    let _running = start(&["--upstream=127.0.0.1:6443"]);
    assert!(Client::connect().has_ended());
    eventually(
        || "counters".to_owned(),
        || (metric("apiserver_proxy_connections_total{result=\"unreachable\"}") == 1).then_some(()),
    );
    assert_eq!(metric("apiserver_proxy_upstream_connect_errors_total{reason=\"refused\"}"), 1);
}

#[test]
fn a_refused_connect_request_is_counted_by_its_status() {
    let _netns = Netns::enter();
    with_address();
    let listener = std::net::TcpListener::bind("127.0.0.1:8080").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 403 Forbidden\r\n\r\n");
        }
    });
    let _running =
        start(&["--upstream=127.0.0.1:8080", "--upstream-protocol=http-connect", "--connect-target=api:443"]);
    assert!(Client::connect().has_ended());
    let counted = || {
        let (_, text) = page("/metrics");
        text.contains("apiserver_proxy_upstream_connect_refused_total{status=\"403\"} 1").then_some(())
    };
    eventually(|| page("/metrics").1, counted);
}

#[test]
fn the_port_and_the_socket_go_from_one_to_the_next() {
    let _netns = scene();
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str| format!("--probe-socket={}", folder.path().join(name).display());
    let old = start(&["--upstream=127.0.0.1:6443", &socket("old")]);
    old.wait_for("health pages are served address=127.0.0.1:16910");
    let new = start(&["--upstream=127.0.0.1:6443", &socket("new")]);
    new.wait_for("cannot listen on 127.0.0.1:16910 for the health pages");
    for name in ["old", "new"] {
        eventually(|| name.to_owned(), || (probe(&["ready", &socket(name)]).0 == Some(0)).then_some(()));
    }
    old.stop();
    new.wait_for("health pages are served address=127.0.0.1:16910");
}
