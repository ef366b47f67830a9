//! Starts, and mistakes.

use testkit::{netns::Netns, process::Running};

use crate::fixture::{Client, LISTEN, binary, proxy, server, start, with_address};

#[test]
fn it_listens_before_the_address_is_there_and_carries_connections() {
    let _netns = Netns::enter();
    server("one", "127.0.0.1:6443");
    let running = start(&["--upstream=127.0.0.1:6443", "--access-log=all"]);
    with_address();
    let (mut client, name) = Client::greeted();
    assert_eq!(name, "one");
    client.echoes("hello").unwrap();
    drop(client);
    let line = running.wait_for("connection ended");
    for words in ["endpoint=127.0.0.1:6443", "outcome=ok", "sent=6", "received=10"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
}

#[test]
fn a_port_that_is_taken_ends_the_start() {
    let _netns = Netns::enter();
    with_address();
    let _other = std::net::TcpListener::bind(LISTEN).unwrap();
    let (status, printed) = Running::start(&mut proxy(&["--upstream=127.0.0.1:6443"])).wait();
    assert_eq!(status.code(), Some(1));
    assert!(printed.contains("cannot listen on 10.96.0.2:443: another program does already"), "{printed}");
}

#[test]
fn mistakes_end_the_start_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    std::fs::write(&file, "upstream: 127.0.0.1:6443\nmaxConnections: many\n").unwrap();
    let config = format!("--config={}", file.display());
    for (args, words) in [
        (&["--threads=x"][..], "invalid argument \"x\" for \"--threads\" flag"),
        (&["--listen=10.96.0.2:443"], "give --upstream=HOST:PORT, or --discover"),
        (&["--config=/nowhere"], "cannot read /nowhere (--config)"),
        (
            &["--listen=10.96.0.2:443", &config],
            "proxy.yaml: line 2, column 17: maxConnections: invalid argument \"many\"",
        ),
        (&["probe", "reddy"], "\"reddy\" can't be probed"),
    ] {
        let (status, printed) = Running::start(binary().args(args)).wait();
        assert_eq!(status.code(), Some(2), "{printed}");
        assert!(printed.contains(words), "{words} in {printed}");
    }
}
