//! Replacing the binary while connections are open and more arrive.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testkit::{
    netns::Netns,
    process::{Running, field},
};

use crate::fixture::{Client, LISTEN, PATIENCE, apart, make_room, proxy, scene, server, start, with_address};

const ARGS: [&str; 2] = ["--upstream=127.0.0.1:6443", "--drain-timeout=1h"];

/// What clients saw.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    dials: AtomicU32,
    messages: AtomicU64,
    broken: Mutex<Vec<String>>,
}

impl Seen {
    fn broken(&self, what: &str, error: &std::io::Error) {
        self.broken.lock().unwrap().push(format!("{what}: {error}"));
    }
}

/// Threads that dial. Each waits for its answers, so there are more of them than would be busy.
const DIALLING: usize = 16;

/// Connects, says something, and goes: so many times a second, whatever becomes of it. When it is late it catches up.
fn dial(seen: &Arc<Seen>, rate: u32) -> Vec<JoinHandle<()>> {
    let begun = Instant::now();
    let dialling = |seen: Arc<Seen>| {
        move || {
            while !seen.over.load(Relaxed) {
                let due = begun + Duration::from_secs(1) * seen.dials.fetch_add(1, Relaxed) / rate;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let dialled = std::net::TcpStream::connect(LISTEN).and_then(|stream| {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    let mut client = Client(stream);
                    client.0.read_exact(&mut [0; "one\n".len()])?;
                    client.echoes("x")
                });
                if let Err(error) = dialled {
                    seen.broken("a dial", &error);
                }
            }
        }
    };
    (0..DIALLING).map(|_| std::thread::spawn(dialling(Arc::clone(seen)))).collect()
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

/// `DIALS` is how many dials a second there have to be; without it as many of a thousand as the machine has time for.
#[test]
fn ten_replacements_break_nothing() {
    let _netns = scene();
    make_room();
    let demanded: Option<u32> = std::env::var("DIALS").ok().map(|dials| dials.parse().unwrap());
    let seen = Arc::<Seen>::default();
    let mut current = start(&ARGS);
    let mut clients: Vec<_> = (0..100).map(|_| stream(&seen)).collect();
    let begun = Instant::now();
    clients.extend(dial(&seen, demanded.unwrap_or(1000)));
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
    let (dials, messages, took) = (seen.dials.load(Relaxed), seen.messages.load(Relaxed), begun.elapsed());
    let rate = f64::from(dials) / took.as_secs_f64();
    println!(
        "{dials} dials in {took:.1?}, {rate:.0} a second, beside {messages} messages of 100 streams and more"
    );
    assert_eq!(*seen.broken.lock().unwrap(), Vec::<String>::new());
    if let Some(demanded) = demanded {
        assert!(rate >= 0.98 * f64::from(demanded), "{rate:.0} a second");
    }
    let first = old.remove(0).wait();
    assert!(field::<u32>(first.1.lines().find(|line| line.contains("open=")).unwrap(), "open") >= 100);
    for (status, printed) in std::iter::once(first).chain(old.into_iter().map(Running::wait)) {
        assert!(status.success() && printed.contains("all connections have ended"), "{printed}");
    }
}

/// As two containers of a rolling update have it: each in a PID namespace of its own, where the other has no number.
#[test]
fn from_one_pid_namespace_to_another() {
    let _netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    let first = start(&ARGS);
    let second = Running::start(&mut apart(&proxy(&ARGS)));
    second.wait_for("accepting connections");
    assert!(second.wait_for("listening address").contains("taken_over=true"), "{}", second.printed());
    first.signal(Signal::SIGTERM);
    assert!(first.wait().0.success());
    Client::greeted().0.echoes("x").unwrap();
}

#[test]
fn the_name_outlives_a_kill() {
    let _netns = scene();
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
    let _netns = scene();
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
    let _netns = scene();
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
    let _netns = scene();
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
