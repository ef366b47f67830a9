//! Stopping: what runs ends well, and when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testkit::{
    eventually,
    https::{self, Connection, post_head},
};

use crate::fixture::{PATH, serve, webhook};

#[test]
fn a_stop_is_told_first_and_then_serves_on() {
    let serving = serve(&["--shutdown-delay=1h"]);
    let config = https::client(serving.authority.pem());
    let body = std::fs::read(testkit::testdata("admission.json")).unwrap();
    let mut idle = Connection::open(&config, serving.address).unwrap();
    assert!(!idle.post(PATH, &body).unwrap().headers.contains("connection: close"));
    serving.running.signal(Signal::SIGTERM);
    serving.running.wait_for("stopping");
    assert_eq!(serving.health("/readyz").status, 503, "unready at once");
    assert_eq!(serving.health("/livez").status, 200, "and alive");

    let mut late = Connection::open(&config, serving.address).unwrap();
    let answer = late.post(PATH, &body).unwrap();
    assert_eq!(answer.status, 200, "new connections are still served");
    assert!(answer.headers.contains("connection: close"), "and sent elsewhere");
    let answer = idle.post(PATH, &body).unwrap();
    assert!(answer.status == 200 && answer.headers.contains("connection: close"));
}

#[test]
fn what_runs_ends_well_after_the_listener_is_closed() {
    let serving = serve(&["--shutdown-delay=500ms"]);
    let config = https::client(serving.authority.pem());
    let body = std::fs::read(testkit::testdata("admission.json")).unwrap();
    let mut slow = Connection::open(&config, serving.address).unwrap();
    slow.send(post_head(PATH, body.len()).as_bytes()).unwrap();
    slow.send(&body[..100]).unwrap();
    std::thread::sleep(Duration::from_millis(100));

    let stopped = Instant::now();
    serving.running.signal(Signal::SIGTERM);
    let refused = || Connection::open(&config, serving.address).err();
    eventually(|| "a closed listener".to_owned(), refused);
    assert!(stopped.elapsed() >= Duration::from_millis(500), "only after the delay");
    slow.send(&body[100..]).unwrap();
    assert_eq!(slow.finish().unwrap().status, 200);
    let (status, printed) = serving.running.wait();
    assert!(status.success() && printed.contains("drained"), "{printed}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let serving = serve(&["--shutdown-delay=1h"]);
    serving.running.signal(Signal::SIGTERM);
    serving.running.wait_for("stopping");
    let second = Instant::now();
    serving.running.signal(Signal::SIGINT);
    let (status, printed) = serving.running.wait();
    assert!(status.success() && printed.contains("second signal"), "{printed}");
    assert!(second.elapsed() < Duration::from_secs(10));
}

#[test]
fn ctrl_c_does_not_wait_for_kubernetes() {
    let serving = serve(&["--shutdown-delay=1h"]);
    serving.running.signal(Signal::SIGINT);
    let (status, printed) = serving.running.wait();
    assert!(status.success() && printed.contains("drained"), "{printed}");
}

#[test]
fn without_delay_and_connections_it_ends_quickly() {
    let serving = serve(&["--shutdown-delay=0"]);
    let config = https::client(serving.authority.pem());
    let mut idle = Connection::open(&config, serving.address).unwrap();
    assert_eq!(idle.post(PATH, b"{}").unwrap().status, 400);
    let _unused = Connection::open(&config, serving.address).unwrap();
    let (status, printed) = serving.running.stop();
    assert!(status.success() && printed.contains("drained"), "nothing had to be cut: {printed}");
}

/// A client that does as told (`Connection: close`) and connects anew each time loses nothing on a connection that
/// it has. (One that is being established in the moment in which the listener closes may be reset: no server can
/// help that, which is why the delay comes first.)
#[test]
fn no_request_is_lost_while_a_server_stops() {
    let serving = serve(&["--shutdown-delay=1s"]);
    let config = https::client(serving.authority.pem());
    let body = Arc::new(std::fs::read(testkit::testdata("admission.json")).unwrap());
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (config, body, answered) = (Arc::clone(&config), Arc::clone(&body), Arc::clone(&answered));
            let address = serving.address;
            std::thread::spawn(move || {
                // Until nobody listens any more; what has been connected must be answered.
                loop {
                    let connected = Instant::now();
                    let Ok(mut connection) = Connection::open(&config, address) else { return };
                    loop {
                        let answer = match connection.post(PATH, &body) {
                            Ok(answer) => answer,
                            // Nobody waits for ever for a client that this machine had no time for.
                            Err(_) if connected.elapsed() > Duration::from_millis(500) => return,
                            Err(error) => panic!("lost after {:?}: {error}", connected.elapsed()),
                        };
                        assert_eq!(answer.status, 200);
                        answered.fetch_add(1, Ordering::Relaxed);
                        if answer.headers.contains("connection: close") {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let (status, _) = serving.running.stop();
    assert!(status.success());
    clients.into_iter().for_each(|client| client.join().expect("no request was lost"));
    assert!(answered.load(Ordering::Relaxed) > 100);
}

#[test]
fn it_listens_on_both_families_by_default() {
    let mut command = webhook();
    command.args(["--host=", "--health-bind-address="]);
    let running = testkit::process::Running::start(&mut command);
    let line = running.wait_for("] serving");
    assert!(!line.contains("health="), "{line}");
    let port = line.split_once("address=[::]:").unwrap().1.split_whitespace().next().unwrap().to_owned();
    for address in ["127.0.0.1", "[::1]"] {
        std::net::TcpStream::connect(format!("{address}:{port}")).unwrap();
    }
}
