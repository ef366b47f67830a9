//! What goes wrong on nodes, and what the agent says and does then.

use std::{fs::File, process::Command};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use testkit::{
    netns::Netns,
    process::{Running, sh, try_sh},
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
    fails_once_with(&mut command, &["interface nope does not exist", "no dummy driver", "ip link"]);
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
    command.args(ONE_SHOT).args(["--setup-iptables", "--rules-backend=iptables"]).env("PATH", "/nowhere");
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
    // A wrapper that waits for a child of its own.
    let sleep = format!("{}", 900_000 + std::process::id());
    std::fs::write(&hanging, format!("#!/bin/sh\nsleep {sleep}; true\n")).unwrap();
    sh(&format!("chmod +x {}", hanging.display()));
    let mut command = NFT_V4.agent(&["--daemon=false"]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.path().display()));
    fails_once_with(&mut command, &["did not end within 10s and was killed"]);
    let left = sh(&format!("pgrep -f '^sleep {sleep}' || true"));
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
    let told = printed.lines().filter(|line| line.starts_with('W') && line.contains("cannot run")).count();
    assert_eq!(told, 5, "every rule is reported: {printed}");
    assert!(errors[0].contains("cannot run") && errors[0].contains("more like it"), "{}", errors[0]);
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

/// What nft can write and iptables can't read stands in a chain.
#[test]
fn a_chain_that_cannot_be_listed_keeps_no_rule_away() {
    let _netns = Netns::enter();
    NFT_V4.iptables("-A INPUT -p tcp -j ACCEPT");
    sh("nft insert rule ip filter INPUT ct state vmap '{ invalid : drop }'");
    assert!(!try_sh("iptables-nft -S INPUT").status.success(), "iptables reads it after all");
    let count = |table: &str| sh(&format!("nft list table ip {table}")).matches("10.96.0.2").count();
    let running = NFT_V4.start(&["--sync-interval=200ms", "--cleanup"]);
    assert_eq!((count("raw"), count("filter")), (3, 2));
    sh("nft flush chain ip raw OUTPUT");
    testkit::eventually(|| sh("nft list ruleset"), || (count("raw") == 3).then_some(()));
    assert_eq!((count("raw"), count("filter")), (3, 2), "nothing twice");
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert_eq!((count("raw"), count("filter")), (0, 0));
}

#[test]
fn one_family_that_fails_keeps_the_other_from_nothing() {
    let _netns = Netns::enter();
    sh("echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6");
    let mut command = agent();
    command.args(["--ip-address=fd00::2,10.96.0.2", "--setup-iptables", "--daemon=false"]);
    fails_once_with(&mut command, &["add address fd00::2/128", "IPv6 is disabled on the interface"]);
    assert!(has_address("lo", "10.96.0.2/32"));
    assert_eq!(NFT_V4.rules(), NFT_V4.wanted());

    let folder = tempfile::tempdir().unwrap();
    let only_v4 = folder.path().join("iptables-nft");
    std::os::unix::fs::symlink("/usr/sbin/xtables-nft-multi", &only_v4).unwrap();
    NFT_V4.iptables("-F");
    let netns = Netns::enter();
    sh(&format!("cp -a /usr/sbin/xtables-nft-multi {}/", folder.path().display()));
    std::fs::remove_file(&only_v4).unwrap();
    std::os::unix::fs::symlink(folder.path().join("xtables-nft-multi"), &only_v4).unwrap();
    netns.hide("/usr/sbin");
    let mut command = agent();
    command.args(["--ip-address=fd00::2,10.96.0.2", "--setup-iptables", "--daemon=false"]);
    fails_once_with(command.env("PATH", folder.path()), &["ip6tables-nft is neither in PATH"]);
    let rules = sh(&format!("{} -t raw -S", only_v4.display()));
    assert_eq!(rules.matches("10.96.0.2").count(), 3, "{rules}");
}

#[test]
fn a_program_that_is_installed_later_is_found() {
    let _netns = Netns::enter();
    sh("mount -t tmpfs tmpfs /usr/sbin");
    let running = Running::start(&mut NFT_V4.agent(&[]));
    running.wait_for("is neither in PATH");
    let umount = try_sh("/bin/umount /usr/sbin");
    assert!(umount.status.success());
    running.wait_for("in place, watching");
    assert_eq!(NFT_V4.rules(), NFT_V4.wanted());
}

/// One family's program is there from the start, and rules are inserted with it meanwhile.
#[test]
fn the_program_of_the_other_family_is_found_later_too() {
    let _netns = Netns::enter();
    let folder = tempfile::tempdir().unwrap();
    let add = |name: &str| {
        std::os::unix::fs::symlink(folder.path().join("xtables-nft-multi"), folder.path().join(name))
    };
    sh(&format!("cp /usr/sbin/xtables-nft-multi {}", folder.path().display()));
    add("iptables-nft").unwrap();
    sh("mount -t tmpfs tmpfs /usr/sbin");
    let mut command = agent();
    command.args(["--ip-address=10.96.0.2,fd00::2", "--setup-iptables", "--rules-backend=iptables-nft"]);
    let running = Running::start(command.env("PATH", folder.path()));
    running.wait_for("ip6tables-nft is neither in PATH");
    let listed = || sh(&format!("{}/iptables-nft -t raw -S", folder.path().display()));
    testkit::eventually(|| running.printed(), || listed().contains("NOTRACK").then_some(()));
    add("ip6tables-nft").unwrap();
    running.wait_for("in place, watching");
}

#[test]
fn an_address_of_a_point_to_point_link_is_somebody_elses() {
    let _netns = Netns::enter();
    sh("ip addr add 10.96.0.2 peer 10.9.9.9/32 dev lo");
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", "--cleanup"]));
    running.wait_for("in place, watching");
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    let left = sh("ip -oneline -4 addr show dev lo");
    assert!(left.contains("10.96.0.2 peer 10.9.9.9/32") && !left.contains("10.96.0.2/32"), "{left}");
}

#[test]
fn cleanup_takes_away_what_an_earlier_choice_of_backend_left() {
    for (before, mark) in [(LEGACY_V4, "true"), (NFT_V4, "iptables-legacy -t mangle -N KUBE-IPTABLES-HINT")] {
        let _netns = Netns::enter();
        before.one_shot();
        sh(mark);
        let running =
            Running::start(agent().args(["--ip-address=10.96.0.2", "--setup-iptables", "--cleanup"]));
        running.wait_for("in place, watching");
        let (status, printed) = running.stop();
        assert!(status.success(), "{printed}");
        assert_eq!((LEGACY_V4.rules(), NFT_V4.rules()), (vec![], vec![]), "{printed}");
    }
}

#[test]
fn a_cleanup_with_a_hanging_program_is_bounded() {
    let _netns = Netns::enter();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("iptables-nft");
    let script = |text: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        sh(&format!("chmod +x {}", program.display()));
    };
    script("exec /usr/sbin/iptables-nft \"$@\"");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let running = Running::start(NFT_V4.agent(&["--cleanup"]).env("PATH", path));
    running.wait_for("in place, watching");
    script("sleep 600; true");
    // Half a minute, Kubernetes' usual grace period, is what wait() allows.
    let (status, printed) = running.stop();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(!has_address("lo", "10.96.0.2/32"));
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

/// Programs that wait for a lock hold up rules, and nothing else.
#[test]
fn an_address_does_not_wait_for_rules_that_cannot_be_set_up() {
    let _netns = Netns::enter();
    let held = hold_the_lock();
    let both = ["--ip-address=fd00::2", "--cleanup"];
    let running = Running::start(&mut LEGACY_V4.agent(&both));
    // Each of ten rules would wait five seconds.
    testkit::eventually(|| running.printed(), || has_address("lo", "fd00::2/128").then_some(()));
    assert!(!running.printed().contains("in place, watching"));
    sh("ip addr del 10.96.0.2/32 dev lo");
    testkit::eventually(|| running.printed(), || has_address("lo", "10.96.0.2/32").then_some(()));
    drop(held);
    running.wait_for("in place, watching");
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
}

#[test]
fn a_stop_in_the_first_cycle_is_not_waited_for() {
    let _netns = Netns::enter();
    let held = hold_the_lock();
    let begun = std::time::Instant::now();
    let running = Running::start(&mut LEGACY_V4.agent(&["--ip-address=10.96.0.3,10.96.0.4,10.96.0.5"]));
    running.wait_for("rules backend chosen");
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    // Twenty rules of five seconds each are a minute and a half.
    assert!(begun.elapsed().as_secs() < 25, "{printed}");
    drop(held);
}

/// What fails is no fight, however often something else happens meanwhile.
#[test]
fn failures_are_not_taken_for_a_fight() {
    let _netns = Netns::enter();
    let running = Running::start(agent().args(["--ip-address=10.96.0.2,fd00::2"]));
    running.wait_for("in place, watching");
    sh("echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6");
    running.wait_for("IPv6 is disabled");
    for n in 0..40 {
        sh(&format!("ip addr add 10.9.9.{n}/32 dev lo"));
    }
    sh("ip addr del 10.96.0.2/32 dev lo");
    testkit::eventually(|| running.printed(), || has_address("lo", "10.96.0.2/32").then_some(()));
    sh("echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6");
    testkit::eventually(|| running.printed(), || has_address("lo", "fd00::2/128").then_some(()));
    assert!(!running.printed().contains("again and again"), "{}", running.printed());
}

#[test]
fn a_table_of_iptables_that_sleeps_is_told() {
    let _netns = Netns::enter();
    let running = NFT_V4.start(&["--sync-interval=1h"]);
    sh("nft 'add table ip raw { flags dormant; }'");
    running.wait_for("somebody put the table ip raw to sleep");
    sh("nft 'add table ip raw { flags 0; }' || nft 'add table ip raw'");
    running.wait_for("in place again after failures");
}
