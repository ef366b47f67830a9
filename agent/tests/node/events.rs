//! Healing by events: the sync interval is an hour, so whatever is back within a test was told by the kernel.

use nix::sys::signal::Signal;
use testkit::{
    eventually,
    netns::Netns,
    process::{Running, sh},
};

use crate::fixture::{Case, LEGACY_V4, NFT_V4, NFTABLES_V4, agent, has_address, on_every_backend};

on_every_backend!(addresses_come_back);

const HOURLY: &str = "--sync-interval=1h";

fn addresses_come_back(case: Case) {
    let _netns = Netns::enter();
    let _running = case.start(&[HOURLY]);
    for _ in 0..3 {
        sh(&format!("ip addr del {} dev lo", case.net));
        eventually(|| sh("ip addr"), || has_address("lo", case.net).then_some(()));
    }
    sh("ip link set lo down");
    eventually(|| sh("ip link"), || sh("ip link show lo").contains(",UP").then_some(()));
    eventually(|| sh("ip addr"), || has_address("lo", case.net).then_some(()));
}

#[test]
fn rules_in_nf_tables_come_back() {
    for case in [NFT_V4, NFTABLES_V4] {
        let _netns = Netns::enter();
        let _running = case.start(&[HOURLY]);
        for (table, chain) in [("raw", "OUTPUT"), ("filter", "INPUT")] {
            case.delete_one(table, chain);
            eventually(|| format!("{:?}", case.rules()), || (case.rules().len() == 5).then_some(()));
        }
        case.flush("raw");
        eventually(|| format!("{:?}", case.rules()), || (case.rules() == case.wanted()).then_some(()));
        sh("nft flush ruleset");
        eventually(|| format!("{:?}", case.rules()), || (case.rules().len() == 5).then_some(()));
    }
}

#[test]
fn a_table_put_to_sleep_or_replaced_is_made_anew() {
    let _netns = Netns::enter();
    let _running = NFTABLES_V4.start(&[HOURLY]);
    let own = NFTABLES_V4.own_table().unwrap();
    let whole = || sh(&format!("nft -s list table inet {own}"));
    let before = whole();
    for damage in [
        format!("add table inet {own} {{ flags dormant; }}"),
        format!("delete chain inet {own} raw_output"),
        format!("insert rule inet {own} filter_input drop"),
        format!("add chain inet {own} another"),
        format!("add chain inet {own} filter_output {{ policy drop; }}"),
        format!("flush table inet {own}"),
    ] {
        sh(&format!("nft '{damage}'"));
        eventually(|| format!("{damage}: {}", whole()), || (whole() == before).then_some(()));
    }
}

/// Without processes and without writes: what others do in tables of their own is none of our business.
#[test]
fn what_others_do_is_not_looked_at() {
    let _netns = Netns::enter();
    for case in [NFT_V4, NFTABLES_V4] {
        let running = case.start(&[HOURLY, "-v=6"]);
        sh("iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -N KUBE-FORWARD; nft add table ip foreign");
        sh("iptables-nft -A INPUT -p udp -j ACCEPT; ip addr add 10.9.9.9/32 dev lo");
        // Something to wait for: what comes after it has been looked at too.
        sh(&format!("ip addr del {} dev lo", case.net));
        running.wait_for("something had been taken away");
        let printed = running.printed();
        let (_, after) = printed.split_once("in place, watching").unwrap();
        assert!(!after.contains("running command"), "{after}");
        sh("nft flush ruleset; ip addr del 10.9.9.9/32 dev lo");
    }
}

#[test]
fn a_burst_of_others_rules_is_survived() {
    let _netns = Netns::enter();
    let mut rules = String::from("*filter\n");
    for n in 0..15_000 {
        rules += &format!("-A FORWARD -s 10.{}.{}.1/32 -p tcp --dport 443 -j ACCEPT\n", n / 250, n % 250);
    }
    let file = std::env::temp_dir().join(format!("burst-{}", std::process::id()));
    std::fs::write(&file, rules + "COMMIT\n").unwrap();
    for case in [NFT_V4, NFTABLES_V4, LEGACY_V4] {
        let running = case.start(&["--sync-interval=500ms"]);
        // Replaces the whole table, ours in it included.
        sh(&format!("iptables-{}-restore < {}", case.variant, file.display()));
        let ours = || case.rules().iter().filter(|rule| rule.contains("10.96.0.2")).count();
        eventually(|| running.printed(), || (ours() == 5).then_some(()));
        running.stop();
        sh("nft flush ruleset; iptables-legacy -F; iptables-legacy -t raw -F");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn somebody_who_fights_back_is_given_way_to() {
    let _netns = Netns::enter();
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", "--sync-interval=2s"]));
    running.wait_for("in place, watching");
    eventually(
        || running.printed(),
        || {
            sh("ip addr del 10.96.0.2/32 dev lo 2>/dev/null || true");
            running.printed().contains("again and again").then_some(())
        },
    );
    sh("ip addr del 10.96.0.2/32 dev lo 2>/dev/null || true");
    // It keeps going all the same.
    eventually(|| running.printed(), || has_address("lo", "10.96.0.2/32").then_some(()));
    let lines = running.printed().lines().filter(|line| line.contains("again and again")).count();
    assert_eq!(lines, 1, "{}", running.printed());
}

/// As the Go sidecar's cleanup does during a migration: that is drift, and no failure.
#[test]
fn rules_deleted_one_by_one_are_no_failure() {
    let _netns = Netns::enter();
    let running = NFT_V4.start(&[HOURLY]);
    for _ in 0..3 {
        for rule in NFT_V4.wanted() {
            let (table, rule) = rule.split_once(" -A ").unwrap();
            let _ = testkit::process::try_sh(&format!("iptables-nft -t {table} -D {rule}"));
        }
    }
    // One that comes back goes to the head of its chain, so not in the same order.
    let sorted = |mut rules: Vec<String>| {
        rules.sort();
        rules
    };
    let whole = || sorted(NFT_V4.rules()) == sorted(NFT_V4.wanted());
    eventually(|| format!("{:?}", NFT_V4.rules()), || whole().then_some(()));
    assert!(!running.printed().contains("not in place"), "{}", running.printed());
}

/// More events than the socket holds, while the agent can't read them: among them that a rule of ours is gone.
#[test]
fn an_overrun_is_a_full_look() {
    let _netns = Netns::enter();
    let mut rules = String::from("*mangle\n");
    for n in 0..45_000 {
        rules += &format!("-A FORWARD -s 10.{}.{}.1/32 -p tcp --dport 443 -j ACCEPT\n", n / 250, n % 250);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules + "COMMIT\n").unwrap();
    for case in [NFT_V4, NFTABLES_V4] {
        let running = case.start(&[HOURLY, "-v=2"]);
        running.signal(Signal::SIGSTOP);
        sh(&format!("iptables-nft-restore < {}", file.path().display()));
        sh(&format!("iptables-nft-restore < {}", file.path().display()));
        case.delete_one("raw", "OUTPUT");
        sh("ip addr del 10.96.0.2/32 dev lo");
        running.signal(Signal::SIGCONT);
        running.wait_for("events lost");
        let ours = || case.rules().iter().filter(|rule| rule.contains("10.96.0.2")).count();
        eventually(|| running.printed(), || (ours() == 5 && has_address("lo", case.net)).then_some(()));
        running.stop();
        sh("nft flush ruleset");
    }
}
