//! What there is too much of.

use std::{fs, time::Duration};

use testkit::{
    eventually,
    process::{Running, field, sh},
};

use crate::fixture::{Client, LISTEN, PATIENCE, binary, metric, scene, start};

#[test]
fn accepting_pauses_at_the_most() {
    let _netns = scene();
    let _running = start(&["--upstream=127.0.0.1:6443", "--max-connections=3", "--threads=1"]);
    let mut open: Vec<_> = (0..3).map(|_| Client::greeted().0).collect();
    let mut waiting = Client::connect();
    waiting.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.line().is_err());
    assert_eq!(
        (metric("apiserver_proxy_connections_open"), metric("apiserver_proxy_accept_paused_total")),
        (3, 1)
    );
    drop(open.remove(0));
    waiting.0.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(waiting.line().unwrap(), "one");
    for client in &mut open {
        client.echoes("here").unwrap();
    }
}

#[test]
fn many_threads_and_addresses_accept_no_more_than_one() {
    const MOST: usize = 3;
    let _netns = scene();
    let mut args = vec!["--upstream=127.0.0.1:6443", "--max-connections=3", "--threads=4"];
    let ports = [4431, 4432, 4433];
    let listen = ports.map(|port| format!("--listen=127.0.0.1:{port}"));
    args.extend(listen.iter().map(String::as_str));
    let _running = start(&args);
    for _ in 0..20 {
        let mut clients: Vec<_> = (0..4).flat_map(|_| ports).map(Client::at).collect();
        for client in &clients {
            client.0.set_nonblocking(true).unwrap();
        }
        let served = || clients.iter().filter(|client| client.0.peek(&mut [0]).is_ok()).count();
        eventually(|| format!("{} are served", served()), || (served() >= MOST).then_some(()));
        // Who was accepted, and is not served yet, is soon.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(served(), MOST);
        // All of them have their turn.
        while !clients.is_empty() {
            clients.retain(|client| client.0.peek(&mut [0]).is_err());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Time on a processor so far, in hundredths of a second.
fn ticks(running: &Running) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn few_descriptors_are_few_connections() {
    let _netns = scene();
    let mut command = std::process::Command::new("sh");
    let program = binary().get_program().to_str().unwrap().to_owned();
    command.args([
        "-c",
        &format!("ulimit -n 96; exec {program} --listen={LISTEN} --upstream=127.0.0.1:6443 --threads=1"),
    ]);
    let running = Running::start(&mut command);
    let warned = running.wait_for("fewer open files are allowed");
    assert_eq!((field::<u64>(&warned, "limit"), field::<u64>(&warned, "most")), (96, 16));
    running.wait_for("accepting connections");
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect()).collect();
    running.wait_for("accepting waits for one to end open=16");
    // Nobody is turned away: who came later waits.
    for mut client in clients.drain(..) {
        assert_eq!(client.line().unwrap(), "one");
    }
    let (status, printed) = running.stop();
    assert!(status.success() && !printed.contains("cannot accept"), "{printed}");
}

#[test]
fn without_descriptors_it_waits_for_some() {
    let _netns = scene();
    let running = start(&["--upstream=127.0.0.1:6443", "--threads=2"]);
    // As when the whole machine has none left.
    let limit = |limit: &str| sh(&format!("prlimit --pid={} --nofile={limit}", running.pid()));
    limit("40:");
    let clients: Vec<_> = (0..100).map(|_| Client::connect()).collect();
    running.wait_for("cannot accept connections at the moment");
    let before = ticks(&running);
    std::thread::sleep(Duration::from_secs(2));
    let spent = ticks(&running) - before;
    assert!(spent < 40, "{spent} hundredths of a second on a processor, of 200");
    limit("1024:");
    drop(clients);
    let (mut client, name) = Client::greeted();
    assert_eq!(name, "one");
    client.echoes("again").unwrap();
    drop(client);
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
}
