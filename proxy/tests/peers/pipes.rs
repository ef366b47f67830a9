//! Who holds a pipe: only what moves much at the moment.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
};

use testkit::{eventually, netns::Netns};

use crate::fixture::{Proxy, accept, launch, pair, talk};

const MUCH: usize = 32 << 20;

/// Much from one side to the other; looks at the proxy in the midst of it.
fn transfer<T>(from: &TcpStream, mut to: &TcpStream, midst: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let mut from = from;
        scope.spawn(move || from.write_all(&vec![3; MUCH]).unwrap());
        let mut place = vec![0; MUCH / 2];
        to.read_exact(&mut place).unwrap();
        let seen = midst();
        to.read_exact(&mut place).unwrap();
        assert!(place.iter().all(|byte| *byte == 3));
        seen
    })
}

#[test]
fn only_bulk_holds_one() {
    let (proxy, listener) = Proxy::before_listener(&["--threads=2"]);
    let pairs: Vec<_> = (0..40)
        .map(|_| {
            let (mut client, mut server) = pair(&listener);
            talk(&mut client, &mut server, b"hello");
            (client, server)
        })
        .collect();
    assert_eq!(proxy.pipes(), 0);
    for (client, server) in &pairs {
        // What is not read yet waits in a pipe.
        transfer(client, server, || {
            eventually(|| "a pipe".to_owned(), || (proxy.pipes() > 0).then_some(()));
        });
        transfer(server, client, || ());
    }
    // Each thread keeps those that it lent again and again.
    assert!(proxy.pipes() < 20, "{} ends of pipes", proxy.pipes());
}

/// The proxy may have so many descriptors, of which it keeps 64 for other things than connections.
const LIMIT: usize = 128;

#[test]
fn without_one_bytes_are_copied() {
    let _netns = Netns::enter();
    let listener = TcpListener::bind("127.0.0.1:6443").unwrap();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={LIMIT}:{LIMIT}"));
    command.args(["--", env!("CARGO_BIN_EXE_apiserver-proxy")]);
    let running = launch(command, "127.0.0.1:6443", &["--threads=1"]);
    // The check at the start.
    drop(accept(&listener));
    let pairs: Vec<_> = (0..(LIMIT - 64) / 2).map(|_| pair(&listener)).collect();
    let content = vec![5; MUCH / 2];
    std::thread::scope(|scope| {
        for (client, server) in &pairs {
            for mut from in [client, server] {
                let content = &content;
                scope.spawn(move || from.write_all(content).unwrap());
            }
        }
        // Nobody reads, so that bytes wait everywhere, which is more than there can be pipes for.
        let path = format!("/proc/{}/fd", running.pid());
        let count = || std::fs::read_dir(&path).unwrap().count();
        eventually(
            || format!("as many descriptors as may be: {}", count()),
            || (count() >= LIMIT - 1).then_some(()),
        );
        for (client, server) in &pairs {
            for mut to in [client, server] {
                let content = &content;
                scope.spawn(move || {
                    let mut place = vec![0; content.len()];
                    to.read_exact(&mut place).unwrap();
                    assert!(place == *content);
                });
            }
        }
    });
}
