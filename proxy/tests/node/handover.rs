//! Replacing the binary while connections are open and more arrive.

use std::{
    os::unix::process::CommandExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::sys::signal::Signal;
use testkit::{
    netns::Netns,
    process::{Running, field},
};

use crate::fixture::{Client, proxy, server, start, with_address};

const ARGS: [&str; 2] = ["--upstream=127.0.0.1:6443", "--drain-timeout=1h"];

/// What clients saw.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    dials: AtomicU64,
    messages: AtomicU64,
    broken: Mutex<Vec<String>>,
}

impl Seen {
    fn broken(&self, what: &str, error: &std::io::Error) {
        self.broken.lock().unwrap().push(format!("{what}: {error}"));
    }
}

/// Connects, says something, and goes, again and again.
fn dial(seen: &Arc<Seen>) -> JoinHandle<()> {
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        while !seen.over.load(Relaxed) {
            let dialled = std::net::TcpStream::connect(crate::fixture::LISTEN).and_then(|stream| {
                stream.set_read_timeout(Some(crate::fixture::PATIENCE))?;
                let mut client = Client(stream);
                client.line()?;
                client.echoes("x")
            });
            seen.dials.fetch_add(1, Relaxed);
            if let Err(error) = dialled {
                seen.broken("a dial", &error);
            }
            std::thread::sleep(Duration::from_millis(4));
        }
    })
}

/// Talks all the time.
fn stream(seen: &Arc<Seen>) -> JoinHandle<()> {
    let seen = Arc::clone(seen);
    let mut client = Client::greeted().0;
    std::thread::spawn(move || {
        while !seen.over.load(Relaxed) {
            if let Err(error) = client.echoes("a line of a stream") {
                return seen.broken("a stream", &error);
            }
            seen.messages.fetch_add(1, Relaxed);
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

#[test]
fn ten_replacements_break_nothing() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let seen = Arc::<Seen>::default();
    let mut current = start(&ARGS);
    let mut clients: Vec<_> = (0..8).map(|_| dial(&seen)).chain((0..50).map(|_| stream(&seen))).collect();
    let mut old = Vec::new();
    for _ in 0..10 {
        let new = start(&ARGS);
        assert!(new.wait_for("listening address").contains("taken_over=true"), "{}", new.printed());
        current.signal(Signal::SIGTERM);
        old.push(std::mem::replace(&mut current, new));
        clients.extend((0..5).map(|_| stream(&seen)));
        std::thread::sleep(Duration::from_millis(200));
    }
    seen.over.store(true, Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    println!("{} dials, {} messages", seen.dials.load(Relaxed), seen.messages.load(Relaxed));
    assert_eq!(*seen.broken.lock().unwrap(), Vec::<String>::new());
    let first = old.remove(0).wait();
    assert_eq!(field::<u64>(first.1.lines().find(|line| line.contains("open=")).unwrap(), "open") / 50, 1);
    for (status, printed) in std::iter::once(first).chain(old.into_iter().map(Running::wait)) {
        assert!(status.success() && printed.contains("all connections have ended"), "{printed}");
    }
}

#[test]
fn the_name_outlives_a_kill() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let first = start(&ARGS);
    let second = start(&ARGS);
    first.signal(Signal::SIGKILL);
    first.wait();
    Client::greeted().0.echoes("x").unwrap();
    let third = start(&ARGS);
    assert!(third.wait_for("listening address").contains("taken_over=true"));
    for running in [second, third] {
        running.signal(Signal::SIGKILL);
        running.wait();
    }
    let fourth = start(&ARGS);
    assert!(fourth.wait_for("listening address").contains("taken_over=false"));
    Client::greeted().0.echoes("x").unwrap();
}

#[test]
fn a_newer_one_that_dies_leaves_the_older_one_as_it_was() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let seen = Arc::<Seen>::default();
    let _first = start(&ARGS);
    let streams: Vec<_> = (0..10).map(|_| stream(&seen)).collect();
    for _ in 0..3 {
        let newer = Running::start(&mut proxy(&ARGS));
        newer.wait_for("taken_over=true");
        newer.signal(Signal::SIGKILL);
        newer.wait();
        Client::greeted().0.echoes("x").unwrap();
    }
    seen.over.store(true, Relaxed);
    for client in streams {
        client.join().unwrap();
    }
    assert_eq!(*seen.broken.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn a_frozen_one_is_not_waited_for_for_ever() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let frozen = start(&ARGS);
    let mut client = Client::greeted().0;
    frozen.signal(Signal::SIGSTOP);
    let (status, printed) = Running::start(&mut proxy(&ARGS)).wait();
    assert_eq!(status.code(), Some(1));
    for words in ["an older instance has it and does not answer", "cannot listen on 10.96.0.2:443"] {
        assert!(printed.contains(words), "{printed}");
    }
    frozen.signal(Signal::SIGCONT);
    client.echoes("as before").unwrap();

    // With a second one that lives, the frozen one is in nobody's way.
    let second = start(&ARGS);
    frozen.signal(Signal::SIGSTOP);
    let third = start(&ARGS);
    assert!(third.wait_for("listening address").contains("taken_over=true"));
    second.signal(Signal::SIGTERM);
    assert!(second.wait().0.success());
    for _ in 0..20 {
        Client::greeted().0.echoes("x").unwrap();
    }
    frozen.signal(Signal::SIGCONT);
    client.echoes("as before").unwrap();
}

#[test]
fn sets_that_differ() {
    let _netns = Netns::enter();
    with_address();
    testkit::process::sh("ip addr add fd00::2/128 dev lo nodad");
    server("one", "127.0.0.1:6443");
    let of = |running: &Running, address: &str| {
        let line = running.wait_for(&format!("listening address={address}"));
        line.contains("taken_over=true")
    };
    let first = start(&[ARGS[0], ARGS[1], "--listen=[fd00::2]:443"]);
    let second = start(&[ARGS[0], ARGS[1], "--listen=127.0.0.1:4430"]);
    assert!(of(&second, "10.96.0.2:443") && !of(&second, "127.0.0.1:4430"));
    first.stop();
    let third = start(&[ARGS[0], ARGS[1], "--listen=[fd00::2]:443", "--listen=127.0.0.1:4430"]);
    assert!(of(&third, "10.96.0.2:443") && of(&third, "127.0.0.1:4430") && !of(&third, "[fd00::2]:443"));
}

#[test]
fn another_user_gets_nothing() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let port = "--listen=10.96.0.2:4430";
    let first = start(&[ARGS[0], port]);
    let mut other = crate::fixture::binary();
    other.args([ARGS[0], port, "--health-bind-address=", "--probe-socket="]).uid(65534).gid(65534);
    let (status, printed) = Running::start(&mut other).wait();
    assert_eq!(status.code(), Some(1));
    assert!(printed.contains("a process of user 0 has the name for it, and this is user 65534"), "{printed}");
    assert!(!first.printed().contains("has this listening socket now"));
    assert!(first.stop().0.success());
}
