//! What a running agent tells those who ask.

use std::process::Command;

use testkit::{
    eventually,
    netns::Netns,
    process::{Running, sh, try_sh},
};

use crate::fixture::{NFT_V4, agent};

fn get(path: &str) -> (String, String) {
    let output = try_sh(&format!("curl -s -m 5 -w '%{{http_code}}' http://127.0.0.1:9441{path}"));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.split_at(text.len() - 3);
    (code.to_owned(), body.to_owned())
}

fn status(path: &str) -> String {
    get(path).0
}

const HEALTH: &str = "--health-bind-address=127.0.0.1:9441";

#[test]
fn pages_tell_how_it_goes() {
    let _netns = Netns::enter();
    let running = NFT_V4.start(&[HEALTH, "--cleanup"]);
    running.wait_for("health pages are served");
    assert_eq!(get("/livez"), ("200".to_owned(), "ok".to_owned()));
    assert_eq!(get("/readyz"), ("200".to_owned(), "ok".to_owned()));
    let (_, statusz) = get("/statusz");
    for line in ["Addresses: 1 of 1", "Rules: 5 of 5", "Rules backend: iptables-nft", "Last cycle: in place"]
    {
        assert!(statusz.contains(line), "{statusz}");
    }
    let (_, flagz) = get("/flagz");
    assert!(flagz.contains("ip-address=10.96.0.2") && flagz.contains("sync-interval=1m0s"), "{flagz}");
    NFT_V4.delete_one("raw", "OUTPUT");
    sh("ip addr del 10.96.0.2/32 dev lo");
    running.wait_for("addresses=1 ");
    let (_, metrics) = get("/metrics");
    for line in [
        "apiserver_proxy_sidecar_drift_total{kind=\"rule\"} 1",
        "apiserver_proxy_sidecar_drift_total{kind=\"address\"} 1",
        "apiserver_proxy_sidecar_observed{kind=\"rule\"} 5",
        "apiserver_proxy_sidecar_desired{kind=\"address\"} 1",
        "apiserver_proxy_sidecar_build_info{",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    let healed = metrics.lines().find(|line| line.contains("heal_duration_seconds_count")).unwrap();
    assert!(!healed.ends_with(" 0"), "{healed}");
}

#[test]
fn ready_means_in_place_and_nothing_else() {
    let _netns = Netns::enter();
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", "--interface=br7", HEALTH]));
    running.wait_for("does not exist");
    eventually(|| running.printed(), || (status("/livez") == "200").then_some(()));
    let (code, report) = get("/readyz");
    assert_eq!(code, "503");
    assert!(report.contains("interface br7 does not exist"), "{report}");
    sh("ip link add br7 type bridge; ip link set br7 up");
    eventually(|| running.printed(), || (status("/readyz") == "200").then_some(()));
    sh("ip link set br7 down");
    eventually(|| running.printed(), || (status("/readyz") == "503").then_some(()));
    assert_eq!(status("/livez"), "200", "a restart would not help");
}

/// Somebody takes it away again and again: it is not put back for a while, and that is no readiness.
#[test]
fn what_is_held_back_is_not_ready() {
    let _netns = Netns::enter();
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", HEALTH]));
    running.wait_for("in place, watching");
    eventually(
        || running.printed(),
        || {
            sh("ip addr del 10.96.0.2/32 dev lo 2>/dev/null || true");
            (status("/readyz") == "503").then_some(())
        },
    );
    let (_, report) = get("/readyz");
    assert!(report.contains("held back"), "{report}");
    let (_, metrics) = get("/metrics");
    assert!(metrics.contains("apiserver_proxy_sidecar_contention{kind=\"address\"} 1"), "{metrics}");
}

#[test]
fn two_instances_share_a_port_and_each_has_its_socket() {
    let _netns = Netns::enter();
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str| format!("--probe-socket={}", folder.path().join(name).display());
    let probe = |page: &str, name: &str| {
        let mut command: Command = agent();
        Running::start(command.args(["probe", page, &socket(name)])).wait()
    };
    let one = NFT_V4.start(&[HEALTH, &socket("one"), "--cleanup"]);
    one.wait_for("health pages are served address=127.0.0.1:9441");
    let two = NFT_V4.start(&[HEALTH, &socket("two"), "--cleanup"]);
    eventually(|| two.printed(), || probe("ready", "two").0.success().then_some(()));
    let (status, report) = probe("ready", "one");
    assert!(status.success() && report.contains("[+]in-place ok"), "{report}");
    assert!(probe("live", "one").0.success());
    let (status, printed) = one.stop();
    assert!(status.success(), "{printed}");
    two.wait_for("health pages are served address=127.0.0.1:9441");
    let (status, report) = probe("ready", "one");
    assert_eq!(status.code(), Some(1), "nobody is there any more: {report}");
}

#[test]
fn a_probe_says_what_is_wrong_with_it() {
    for (args, words) in [
        (&["probe"][..], "nothing can't be probed; usage:"),
        (&["probe", "steady", "--probe-socket=/x"], "\"steady\" can't be probed; usage:"),
        (&["probe", "ready"], "no --probe-socket"),
        (&["probe", "ready", "--probe-sock=/x"], "probe-sock"),
    ] {
        let (status, printed) = Running::start(agent().args(args)).wait();
        assert_eq!(status.code(), Some(2), "{printed}");
        assert!(printed.contains(words), "{printed}");
    }
    let mut command = agent();
    command.args(["probe", "ready"]).env("ASP_SIDECAR_PROBE_SOCKET", "/nowhere/probe.sock");
    let (status, printed) = Running::start(&mut command).wait();
    assert!(status.code() == Some(1) && printed.contains("/nowhere/probe.sock"), "{printed}");
}

#[test]
fn logs_can_be_json() {
    let _netns = Netns::enter();
    let running = NFT_V4.start(&["--log-format=json", "--cleanup"]);
    sh("ip addr del 10.96.0.2/32 dev lo");
    running.wait_for("something had been taken away");
    let (_, printed) = running.stop();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &printed).unwrap();
    let read = sh(&format!("jq -r '[.level, .message, .addresses] | @tsv' {}", file.path().display()));
    assert!(read.contains("WARN\tsomething had been taken away and is back\t1"), "{read}");
}

/// A ClusterIP of kube-proxy, with the rules off, and an endpoint of one, with the rules on.
#[test]
fn dnat_in_the_way_is_told_once() {
    for (rules, target, words) in [
        ("false", "192.168.1.1:6443", "a DNAT takes what goes to 10.96.0.2:443 elsewhere"),
        ("true", "10.96.0.2:443", "10.96.0.2:443 is the target of a DNAT"),
    ] {
        let _netns = Netns::enter();
        let destination = if rules == "false" { "10.96.0.2" } else { "10.96.0.1" };
        sh("iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -t nat -N KUBE-SVC-X");
        sh(
            "iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES; iptables-nft -t nat -A OUTPUT -j KUBE-SERVICES",
        );
        sh(&format!(
            "iptables-nft -t nat -A KUBE-SERVICES -d {destination}/32 -p tcp --dport 443 -j KUBE-SVC-X; \
             iptables-nft -t nat -A KUBE-SVC-X -p tcp -j DNAT --to-destination {target}"
        ));
        let running = Running::start(agent().args([
            "--ip-address=10.96.0.2",
            &format!("--setup-iptables={rules}"),
            "--sync-interval=100ms",
            HEALTH,
        ]));
        let line = running.wait_for(words);
        assert!(line.starts_with('W') && line.contains("KUBE-SVC-X"), "{line}");
        let told = || get("/metrics").1.contains("apiserver_proxy_sidecar_dnat_conflict 1");
        eventually(|| get("/metrics").1, || told().then_some(()));
        let (code, report) = get("/readyz?verbose");
        assert!(code == "200" && report.contains("[!]dnat-conflict"), "{report}");
        let (_, printed) = running.stop();
        assert_eq!(printed.lines().filter(|line| line.contains(words)).count(), 1, "{printed}");
    }
}
