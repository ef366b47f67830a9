//! Two instances on one node, as in a rolling update.

use std::{
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use testkit::{
    netns::Netns,
    process::{Running, sh},
};

use crate::fixture::{Case, LEGACY_V4, NFT_V4, NFTABLES_V4, agent, has_address, on_every_backend};

on_every_backend!(
    the_older_takes_nothing_away_that_the_newer_wants,
    whoever_is_last_takes_everything_away,
    a_killed_successor_wants_nothing,
);

fn the_older_takes_nothing_away_that_the_newer_wants(case: Case) {
    let _netns = Netns::enter();
    let older = case.start(&["--cleanup"]);
    let newer = case.start(&["--cleanup", "--sync-interval=1h"]);
    let (status, printed) = older.stop();
    assert!(status.success() && printed.contains("another instance's"), "{printed}");
    assert_eq!(case.rules(), case.wanted());
    assert!(has_address("lo", case.net));
    assert!(!newer.printed().contains("taken away"), "not for a moment: {}", newer.printed());
    let (status, printed) = newer.stop();
    assert!(status.success() && printed.contains("nothing of ours is left"), "{printed}");
    assert_eq!(case.rules(), Vec::<String>::new());
    assert!(!has_address("lo", case.net));
}

fn whoever_is_last_takes_everything_away(case: Case) {
    let _netns = Netns::enter();
    for _ in 0..3 {
        let both = [case.start(&["--cleanup"]), case.start(&["--cleanup"])];
        both.iter().for_each(|running| running.signal(Signal::SIGTERM));
        for running in both {
            let (status, printed) = running.wait();
            assert!(status.success(), "{printed}");
        }
        assert_eq!(case.rules(), Vec::<String>::new());
        assert!(!has_address("lo", case.net));
    }
}

fn a_killed_successor_wants_nothing(case: Case) {
    let _netns = Netns::enter();
    let older = case.start(&["--cleanup"]);
    let newer = case.start(&["--cleanup"]);
    newer.signal(Signal::SIGKILL);
    newer.wait();
    let (status, printed) = older.stop();
    assert!(status.success(), "{printed}");
    assert_eq!(case.rules(), Vec::<String>::new());
    assert!(!has_address("lo", case.net));
}

#[test]
fn a_stopped_successor_still_counts() {
    let _netns = Netns::enter();
    let older = NFT_V4.start(&["--cleanup"]);
    let newer = NFT_V4.start(&[]);
    newer.signal(Signal::SIGSTOP);
    let (status, printed) = older.stop();
    newer.signal(Signal::SIGCONT);
    assert!(status.success(), "{printed}");
    assert_eq!(NFT_V4.rules(), NFT_V4.wanted());
}

#[test]
fn instances_with_other_addresses_do_not_disturb_each_other() {
    for case in [NFT_V4, NFTABLES_V4, LEGACY_V4] {
        let _netns = Netns::enter();
        let one = case.start(&["--cleanup"]);
        let mut two = agent();
        two.args(["--ip-address=10.96.0.3,10.96.0.2", "--port=6443", "--setup-iptables", "--cleanup"]);
        let two = Running::start(two.arg(format!("--rules-backend={}", case.backend)));
        two.wait_for("in place, watching");
        let (status, printed) = one.stop();
        assert!(status.success(), "{printed}");
        assert!(has_address("lo", "10.96.0.2/32"), "the other one wants it too");
        let all = sh("nft list ruleset; iptables-legacy-save");
        assert!(!all.contains("port 443"), "the rules of port 443 are only the first one's: {all}");
        assert!(all.contains("6443"));
        let (status, printed) = two.stop();
        assert!(status.success() && !printed.contains("taken away"), "{printed}");
        assert!(!has_address("lo", "10.96.0.2/32") && !has_address("lo", "10.96.0.3/32"));
    }
}

/// An update that changes the backend: each takes away its own kind of rules.
#[test]
fn the_backend_may_change_between_the_two() {
    for (before, after) in [(NFT_V4, NFTABLES_V4), (NFTABLES_V4, NFT_V4), (LEGACY_V4, NFTABLES_V4)] {
        let _netns = Netns::enter();
        let older = before.start(&["--cleanup"]);
        let newer = after.start(&["--sync-interval=1h"]);
        let (status, printed) = older.stop();
        assert!(status.success(), "{printed}");
        assert_eq!(after.rules(), after.wanted(), "only the newer one's are left");
        assert!(has_address("lo", after.net));
        assert!(!newer.printed().contains("taken away"), "{}", newer.printed());
    }
}

/// Dials the address a thousand times a second, as long as it lives.
struct Dialer {
    stop: Arc<AtomicBool>,
    dials: Arc<AtomicUsize>,
    worker: std::thread::JoinHandle<Vec<String>>,
}

impl Dialer {
    fn start(address: &'static str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (stop, dials) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let worker = std::thread::spawn({
            let (stop, dials) = (Arc::clone(&stop), Arc::clone(&dials));
            move || {
                let mut failures = Vec::new();
                while !stop.load(Relaxed) {
                    let dialed =
                        TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5));
                    failures.extend(dialed.err().map(|error| error.to_string()));
                    dials.fetch_add(1, Relaxed);
                    std::thread::sleep(Duration::from_micros(900));
                }
                failures
            }
        });
        Self { stop, dials, worker }
    }

    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Relaxed);
        let failures = self.worker.join().unwrap();
        (self.dials.load(Relaxed), failures)
    }
}

/// To port 443 the filters let in what our rules accept and nothing else, so a rule that is missing for a moment is a dial that
/// fails. HANDOVERS in the environment makes it more.
#[test]
fn dials_during_hand_overs_all_succeed() {
    let handovers = std::env::var("HANDOVERS").map_or(2, |text| text.parse().unwrap());
    for case in [NFT_V4, NFTABLES_V4] {
        let _netns = Netns::enter();
        // An accept in the table of the nftables backend does not overrule a drop elsewhere.
        if case.backend == "iptables-nft" {
            sh("iptables-nft -P INPUT DROP; iptables-nft -A INPUT -p tcp ! --dport 443 -j ACCEPT");
            sh("iptables-nft -P OUTPUT DROP; iptables-nft -A OUTPUT -p tcp ! --sport 443 -j ACCEPT");
        }
        let mut serving = case.start(&["--cleanup"]);
        let dialer = Dialer::start("10.96.0.2:443");
        for _ in 0..handovers {
            let newer = case.start(&["--cleanup"]);
            let (status, printed) = serving.stop();
            assert!(status.success(), "{printed}");
            assert!(!newer.printed().contains("taken away"), "{}", newer.printed());
            std::thread::sleep(Duration::from_millis(if handovers > 2 { 2500 } else { 100 }));
            serving = newer;
        }
        let (dials, failures) = dialer.stop();
        println!("{}: {dials} dials over {handovers} hand-overs, {} failed", case.backend, failures.len());
        assert_eq!(failures, Vec::<String>::new(), "of {dials} dials");
        assert!(dials > 50 * handovers, "{dials}");
    }
}

/// Somebody who takes the name of the lock delays a start and a cleanup, and prevents neither.
#[test]
fn a_lock_that_is_never_free_is_not_waited_for_forever() {
    let _netns = Netns::enter();
    let script = "import socket, time\n\
                  s = socket.socket(socket.AF_UNIX)\n\
                  s.bind('\\0apiserver-proxy-sidecar/1/lock'); s.listen()\n\
                  print('bound', flush=True); time.sleep(600)";
    let holder = Running::start(Command::new("python3").args(["-c", script]));
    holder.wait_for("bound");
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", "--daemon=false"]));
    let (status, printed) = running.wait();
    assert!(status.success() && printed.contains("has held the lock"), "{printed}");
    assert!(has_address("lo", "10.96.0.2/32"));
}

/// Out of file descriptors at the start, for a while.
#[test]
fn what_could_not_be_announced_is_announced_later() {
    let _netns = Netns::enter();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 10; exec \"$@\"", "sh"]).arg(agent().get_program());
    let addresses: Vec<String> = (2..12).map(|n| format!("10.96.0.{n}")).collect();
    let running = Running::start(command.arg(format!("--ip-address={}", addresses.join(","))));
    running.wait_for("going on without, and trying again");
    sh(&format!("prlimit --pid {} --nofile=1024:1024", running.pid()));
    let names = || sh("ss -xlH").matches("@apiserver-proxy-sidecar/1/").count();
    testkit::eventually(|| running.printed(), || (names() == 10).then_some(()));
}
