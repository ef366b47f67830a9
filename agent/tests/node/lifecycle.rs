//! Start, adopt, heal, stop.

use std::process::Command;

use nix::sys::signal::Signal;
use testkit::{
    eventually,
    netns::Netns,
    process::{Running, sh, try_sh},
};

use crate::fixture::{Case, agent, has_address, on_every_backend};

on_every_backend!(
    installs_exactly_the_seeds_rules,
    cleanup_leaves_nothing_of_ours_and_all_of_others,
    without_cleanup_all_stays_and_is_adopted,
    drift_is_healed,
    killed_and_started_again_there_are_no_duplicates,
    every_copy_of_a_rule_goes,
);

fn installs_exactly_the_seeds_rules(case: Case) {
    let _netns = Netns::enter();
    case.one_shot();
    assert_eq!(case.rules(), case.wanted());
    assert!(has_address("lo", case.net));
    case.one_shot();
    assert_eq!(case.rules(), case.wanted(), "a second start adds nothing");
}

fn cleanup_leaves_nothing_of_ours_and_all_of_others(case: Case) {
    let _netns = Netns::enter();
    sh(&format!("ip addr add {} dev lo", case.foreign));
    case.iptables("-t raw -A OUTPUT -p tcp --dport 443 -j NOTRACK");
    case.iptables(&format!("-A INPUT -d {} -p tcp -m tcp --dport 444 -j ACCEPT", case.net));
    case.iptables("-A INPUT -m comment --comment kubernetes -m conntrack --ctstate INVALID -j DROP");
    case.iptables("-A OUTPUT -m mark --mark 0x8000/0x8000 -j DROP");
    case.iptables("-N MINE");
    case.iptables("-A MINE -j RETURN");
    let before = case.rules();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let running = case.start(&["--cleanup"]);
        assert_eq!(case.rules().len(), before.len() + 5);
        running.signal(signal);
        let (status, printed) = running.wait();
        assert!(status.success(), "{printed}");
        assert_eq!(case.rules(), before);
        assert!(!has_address("lo", case.net));
        assert!(has_address("lo", case.foreign));
    }
}

fn without_cleanup_all_stays_and_is_adopted(case: Case) {
    let _netns = Netns::enter();
    let (status, _) = case.start(&[]).stop();
    assert!(status.success());
    assert_eq!(case.rules(), case.wanted());
    assert!(has_address("lo", case.net));
    let running = case.start(&["--cleanup"]);
    assert!(running.wait_for("in place, watching").contains("changes=0"), "adopted, not made again");
    running.stop();
    assert_eq!(case.rules(), Vec::<String>::new());
    assert!(!has_address("lo", case.net));
}

fn drift_is_healed(case: Case) {
    let _netns = Netns::enter();
    let _running = case.start(&["--sync-interval=200ms"]);
    let healed =
        || eventually(|| format!("{:?}", case.rules()), || (case.rules() == case.wanted()).then_some(()));
    let chains =
        [("raw", "PREROUTING", 1), ("raw", "OUTPUT", 2), ("filter", "INPUT", 1), ("filter", "OUTPUT", 1)];
    for (table, chain, _) in chains {
        case.delete_one(table, chain);
        eventually(|| format!("{:?}", case.rules()), || (case.rules().len() == 5).then_some(()));
    }
    for (table, ..) in chains {
        case.flush(table);
        healed();
    }
    sh(&format!("ip addr del {} dev lo", case.net));
    eventually(|| sh("ip addr"), || has_address("lo", case.net).then_some(()));
    sh("ip link set lo down");
    eventually(|| sh("ip link"), || sh("ip link show lo").contains(",UP").then_some(()));
    eventually(|| sh("ip addr"), || has_address("lo", case.net).then_some(()));
}

fn killed_and_started_again_there_are_no_duplicates(case: Case) {
    let _netns = Netns::enter();
    for _ in 0..3 {
        let running = case.start(&["--cleanup"]);
        running.signal(Signal::SIGKILL);
        running.wait();
    }
    assert_eq!(case.rules(), case.wanted());
    let (status, _) = case.start(&["--cleanup"]).stop();
    assert!(status.success());
    assert_eq!(case.rules(), Vec::<String>::new());
    assert!(!has_address("lo", case.net));
}

fn every_copy_of_a_rule_goes(case: Case) {
    let _netns = Netns::enter();
    let running = case.start(&["--cleanup"]);
    for _ in 0..3 {
        case.copy_one();
    }
    running.stop();
    assert_eq!(case.rules(), Vec::<String>::new());
}

#[test]
fn without_rules_no_table_is_touched() {
    let _netns = Netns::enter();
    let status = agent().args(["--ip-address=10.96.0.2", "--daemon=false"]).status().unwrap();
    assert!(status.success());
    assert_eq!(sh("nft list ruleset"), "");
    assert_eq!(sh("cat /proc/net/ip_tables_names"), "");
    assert!(has_address("lo", "10.96.0.2/32"));
}

#[test]
fn addresses_are_never_a_source_for_other_traffic() {
    let _netns = Netns::enter();
    assert!(agent().args(["--ip-address=10.96.0.2,fd00::2", "--daemon=false"]).status().unwrap().success());
    let v4 = sh("ip -oneline -4 addr show dev lo to 10.96.0.2/32");
    assert!(v4.contains("scope host") && !v4.contains("brd"), "{v4}");
    let v6 = sh("ip -oneline -6 addr show dev lo to fd00::2/128");
    assert!(
        v6.contains("nodad") && v6.contains("preferred_lft 0sec") && v6.contains("valid_lft forever"),
        "{v6}"
    );
    assert!(!v6.contains("tentative"), "it can be bound at once: {v6}");
}

#[test]
fn several_addresses_of_both_families_come_and_go() {
    let _netns = Netns::enter();
    let args = ["--ip-address=10.96.0.2,fd00::2", "--ip-address=10.96.0.3", "--setup-iptables", "--cleanup"];
    let running = Running::start(agent().args(args));
    running.wait_for("in place, watching");
    assert_eq!(sh("iptables-save; ip6tables-save").matches("-j ").count(), 15);
    running.stop();
    assert_eq!(sh("iptables-save; ip6tables-save").matches("-j ").count(), 0);
    assert!(!sh("ip addr").contains("10.96.0.") && !sh("ip addr").contains("fd00::"));
}

#[test]
fn an_address_with_another_prefix_is_somebody_elses() {
    let _netns = Netns::enter();
    sh("ip addr add 10.96.0.2/24 dev lo; ip addr add fd00::2/64 dev lo");
    let running = Running::start(agent().args(["--ip-address=10.96.0.2,fd00::2", "--cleanup"]));
    running.wait_for("in place, watching");
    assert!(has_address("lo", "10.96.0.2/32"));
    running.stop();
    assert!(has_address("lo", "10.96.0.2/24") && has_address("lo", "fd00::2/64"));
    assert!(!has_address("lo", "10.96.0.2/32"));
}

/// A node whose filters drop all that is not accepted, and a Pod behind a veth pair.
#[test]
fn a_pod_reaches_the_address_through_a_closed_filter_untracked() {
    let _netns = Netns::enter();
    sh("iptables-nft -P INPUT DROP; iptables-nft -P OUTPUT DROP");
    let pod = Running::start(Command::new("unshare").args(["-n", "sleep", "60"]));
    let in_pod = format!("nsenter -t {} -n", pod.pid());
    sh("ip link add node0 type veth peer name pod0; ip addr add 10.1.0.1/24 dev node0; ip link set node0 up");
    let moved = format!("ip link set pod0 netns {} && {in_pod} ip link show pod0", pod.pid());
    eventually(|| "a Pod".to_owned(), || try_sh(&moved).status.success().then_some(()));
    sh(&format!("{in_pod} ip addr add 10.1.0.2/24 dev pod0; {in_pod} ip link set pod0 up"));
    sh(&format!("{in_pod} ip route add default via 10.1.0.1"));
    let dial = || try_sh(&format!("{in_pod} timeout 3 bash -c 'exec 3<>/dev/tcp/10.96.0.2/443 && cat <&3'"));

    crate::fixture::NFT_V4.one_shot();
    let listener = std::net::TcpListener::bind("10.96.0.2:443").unwrap();
    // Answers for as long as the test runs.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"hello");
        }
    });
    assert_eq!(String::from_utf8(dial().stdout).unwrap(), "hello");
    for (chain, rule) in [("raw", "PREROUTING"), ("raw", "OUTPUT"), ("filter", "INPUT"), ("filter", "OUTPUT")]
    {
        let counted = sh(&format!("iptables-nft -t {chain} -nvxL {rule}"));
        let packets = counted.lines().filter(|line| line.contains("10.96.0.2"));
        let packets: u32 =
            packets.map(|line| line.split_whitespace().next().unwrap().parse::<u32>().unwrap()).sum();
        assert!(packets > 0, "nothing went through {chain} {rule}: {counted}");
    }
    sh("iptables-nft -F");
    assert!(dial().stdout.is_empty(), "without the rules the filter drops it");
}

/// ip6tables-legacy 1.8.9 says of our rules that they are there, since these are.
#[test]
fn rules_for_another_port_are_not_taken_for_ours() {
    let _netns = Netns::enter();
    let case = crate::fixture::LEGACY_V6;
    let mut other = case.agent(&["--daemon=false", "--port=444"]);
    assert!(other.status().unwrap().success());
    let others = case.rules();
    let running = case.start(&["--cleanup"]);
    assert_eq!(case.rules().len(), 10);
    let (status, _) = running.stop();
    assert!(status.success());
    assert_eq!(case.rules(), others);
}
