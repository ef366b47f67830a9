//! Who holds a pipe: only what moves much at the moment.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
};

use testkit::{eventually, netns::Netns};

use crate::fixture::{LISTEN, Proxy, dial, launch, pair, talk};

const MUCH: usize = 64 << 20;

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
    // Each thread keeps the one that it lent again and again.
    assert!(proxy.pipes() <= 4, "{} ends of pipes", proxy.pipes());
}

#[test]
fn without_one_bytes_are_copied() {
    let _netns = Netns::enter();
    let listener = TcpListener::bind("127.0.0.1:6443").unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64", "--", env!("CARGO_BIN_EXE_apiserver-proxy")]);
    let running = launch(command, "127.0.0.1:6443", &["--threads=1", "--health-bind-address="]);
    let count = || std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
    let mut pairs = Vec::new();
    while count() < 62 {
        let (mut client, mut server) = pair(&listener);
        talk(&mut client, &mut server, b"hello");
        pairs.push((client, server));
    }
    let (client, server) = &pairs[0];
    transfer(client, server, || assert!(count() <= 64));
    transfer(server, client, || ());
    drop(pairs.split_off(1));
    // There is room again, also for those who came in vain.
    eventually(|| "descriptors".to_owned(), || (count() < 40).then_some(()));
    let _late = dial(LISTEN);
}
