//! What goes wrong on nodes, and what the agent says and does then.

use std::{fs::File, process::Command};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use testkit::{
    netns::Netns,
    process::{Running, sh},
};

use crate::fixture::{LEGACY_V4, NFT_V4, agent, has_address};

/// The xtables lock, until it is dropped.
fn hold_the_lock() -> Flock<File> {
    let file = File::create("/run/xtables.lock").unwrap();
    Flock::lock(file, FlockArg::LockExclusive).unwrap()
}

/// The lines at error level.
fn errors(printed: &str) -> Vec<&str> {
    printed.lines().filter(|line| line.starts_with('E')).collect()
}

#[track_caller]
fn fails_once_with(command: &mut Command, words: &[&str]) {
    let (status, printed) = Running::start(command).wait();
    assert_eq!(status.code(), Some(1), "{printed}");
    let errors = errors(&printed);
    assert_eq!(errors.len(), 1, "one clear line: {printed}");
    for word in words {
        assert!(errors[0].contains(word), "no {word:?} in: {}", errors[0]);
    }
}

const ONE_SHOT: [&str; 2] = ["--ip-address=10.96.0.2", "--daemon=false"];

#[test]
fn one_shot_without_the_interface() {
    let _netns = Netns::enter();
    let mut command = agent();
    command.args(ONE_SHOT).arg("--interface=nope");
    fails_once_with(&mut command, &["interface nope does not exist", "ip link"]);
}

#[test]
fn one_shot_without_the_capability() {
    let _netns = Netns::enter();
    for variant in ["nft", "legacy"] {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
        command.arg(agent().get_program()).args(ONE_SHOT).arg("--setup-iptables");
        command.arg(format!("--rules-backend=iptables-{variant}"));
        fails_once_with(&mut command, &["CAP_NET_ADMIN", "cannot add address 10.96.0.2/32"]);
    }
}

#[test]
fn one_shot_without_the_program_still_adds_the_address() {
    let netns = Netns::enter();
    netns.hide("/usr/sbin");
    let mut command = agent();
    command.args(ONE_SHOT).arg("--setup-iptables").env("PATH", "/nowhere");
    fails_once_with(&mut command, &["iptables is neither in PATH nor in /usr/sbin", "install"]);
    assert!(has_address("lo", "10.96.0.2/32"), "a node without it would reach no API server");
}

#[test]
fn one_shot_with_a_held_lock() {
    let _netns = Netns::enter();
    let held = hold_the_lock();
    fails_once_with(&mut LEGACY_V4.agent(&["--daemon=false"]), &["held the xtables lock", "-w 5"]);
    drop(held);
    LEGACY_V4.one_shot();
}

#[test]
fn one_shot_with_a_lock_file_that_cannot_be_opened() {
    let _netns = Netns::enter();
    sh("mount -o remount,ro /run");
    fails_once_with(&mut LEGACY_V4.agent(&["--daemon=false"]), &["/run/xtables.lock", "Read-only", "mount"]);
}

#[test]
fn a_program_that_hangs_is_killed() {
    let _netns = Netns::enter();
    let folder = tempfile::tempdir().unwrap();
    let hanging = folder.path().join("iptables-nft");
    std::fs::write(&hanging, "#!/bin/sh\nexec sleep 987654\n").unwrap();
    sh(&format!("chmod +x {}", hanging.display()));
    let mut command = NFT_V4.agent(&["--daemon=false"]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.path().display()));
    fails_once_with(&mut command, &["did not end within 10s and was killed"]);
    let left = sh("pgrep -f '^sleep 987654' || true");
    assert_eq!(left, "", "nothing it started is left");
}

#[test]
fn a_daemon_goes_on_trying_and_recovers() {
    let _netns = Netns::enter();
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", "--interface=br7"]));
    running.wait_for("interface br7 does not exist");
    sh("ip link add br7 type bridge");
    running.wait_for("interface br7 is down");
    sh("ip link set br7 up");
    running.wait_for("in place, watching");
    assert!(has_address("br7", "10.96.0.2/32"));
    assert!(!has_address("lo", "10.96.0.2/32"));
}

#[test]
fn an_interface_that_is_gone_is_a_clean_cleanup() {
    let _netns = Netns::enter();
    sh("ip link add br7 type bridge; ip link set br7 up");
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", "--interface=br7", "--cleanup"]));
    running.wait_for("in place, watching");
    sh("ip link del br7");
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
}

#[test]
fn cleanup_goes_on_after_an_error_and_says_what_is_left() {
    let netns = Netns::enter();
    let running = NFT_V4.start(&["--cleanup"]);
    netns.hide("/usr/sbin");
    let (status, printed) = running.stop();
    assert_eq!(status.code(), Some(1), "{printed}");
    let errors = errors(&printed);
    assert_eq!(errors.len(), 1, "{printed}");
    assert_eq!(errors[0].matches("cannot run").count(), 6, "every rule is reported: {}", errors[0]);
    assert!(!has_address("lo", "10.96.0.2/32"), "the address went all the same");
}

#[test]
fn a_second_signal_does_not_cut_a_cleanup() {
    let _netns = Netns::enter();
    let running = LEGACY_V4.start(&["--cleanup"]);
    let held = hold_the_lock();
    running.signal(Signal::SIGTERM);
    running.wait_for("cleaning up");
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGINT);
    drop(held);
    let (status, printed) = running.wait();
    assert!(status.success(), "{printed}");
    assert_eq!(LEGACY_V4.rules(), Vec::<String>::new());
    assert!(!has_address("lo", "10.96.0.2/32"));
}

#[test]
fn a_cleanup_that_never_gets_the_lock_ends_within_a_grace_period() {
    let _netns = Netns::enter();
    let running = LEGACY_V4.start(&["--cleanup"]);
    let held = hold_the_lock();
    let (status, printed) = running.stop();
    drop(held);
    assert_eq!(status.code(), Some(1), "{printed}");
    assert_eq!(LEGACY_V4.rules(), LEGACY_V4.wanted(), "it says that they are left, and they are");
    assert!(!has_address("lo", "10.96.0.2/32"));
    let (status, _) = LEGACY_V4.start(&["--cleanup"]).stop();
    assert!(status.success());
}

#[test]
fn a_full_disk_loses_log_lines_and_nothing_else() {
    let _netns = Netns::enter();
    let running = Running::start(agent().args([
        "--ip-address=10.96.0.2",
        "--logtostderr=false",
        "--log_file=/dev/full",
    ]));
    testkit::eventually(|| running.printed(), || has_address("lo", "10.96.0.2/32").then_some(()));
    running.wait_for("in place");
    let (status, _) = running.stop();
    assert!(status.success());
}
