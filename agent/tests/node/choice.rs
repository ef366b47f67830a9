//! `--rules-backend=auto` does as the node does.

use testkit::{
    netns::Netns,
    process::{Running, sh},
};

use crate::fixture::agent;

/// Prepares the node by `setup`, then returns the backend that was chosen and why.
fn chosen(setup: &str) -> (String, String) {
    let _netns = Netns::enter();
    sh(setup);
    let (status, printed) =
        Running::start(agent().args(["--ip-address=10.96.0.2", "--setup-iptables", "--daemon=false"])).wait();
    assert!(status.success(), "{printed}");
    let line = printed.lines().find(|line| line.contains("rules backend chosen")).unwrap();
    let (_, rest) = line.split_once("backend=").unwrap();
    let (backend, why) = rest.split_once(" why=").unwrap();
    let legacy = sh("iptables-legacy-save 2>/dev/null | grep -c NOTRACK || true");
    let expected = if backend == "iptables-legacy" { "3" } else { "0" };
    assert_eq!(legacy.trim(), expected, "the rules are where the log says");
    (backend.to_owned(), why.to_owned())
}

#[test]
fn nft_where_nobody_has_chosen() {
    let (backend, why) = chosen("true");
    assert_eq!(backend, "iptables-nft");
    assert!(why.contains("nothing on this node uses iptables-legacy"), "{why}");
}

#[test]
fn legacy_where_kubelet_uses_it() {
    for (program, chain) in [
        ("iptables", "KUBE-IPTABLES-HINT"),
        ("iptables", "KUBE-KUBELET-CANARY"),
        ("ip6tables", "KUBE-IPTABLES-HINT"),
        ("ip6tables", "KUBE-KUBELET-CANARY"),
    ] {
        let (backend, why) = chosen(&format!("{program}-legacy -t mangle -N {chain}"));
        assert_eq!(backend, "iptables-legacy");
        assert!(why.contains(chain) && why.contains(program), "{why}");
    }
}

#[test]
fn nft_goes_before_legacy() {
    let both =
        "iptables-legacy -t mangle -N KUBE-IPTABLES-HINT; ip6tables-nft -t mangle -N KUBE-KUBELET-CANARY";
    let (backend, why) = chosen(both);
    assert_eq!(backend, "iptables-nft");
    assert!(why.contains("ip6tables-nft") && why.contains("KUBE-KUBELET-CANARY"), "{why}");
}

#[test]
fn nft_where_legacy_is_used_by_others_than_kubelet() {
    let (backend, why) = chosen("iptables-legacy -t mangle -N SOMEBODY");
    assert_eq!(backend, "iptables-nft");
    assert!(why.contains("no mark"), "{why}");
}

#[test]
fn nftables_where_there_is_no_program() {
    let netns = Netns::enter();
    sh("cp /usr/sbin/nft /run/nft");
    netns.hide("/usr/sbin");
    let mut command = agent();
    command.args(["--ip-address=10.96.0.2", "--setup-iptables", "--daemon=false"]).env("PATH", "/nowhere");
    let (status, printed) = Running::start(&mut command).wait();
    assert!(status.success(), "{printed}");
    let line = printed.lines().find(|line| line.contains("rules backend chosen")).unwrap();
    assert!(line.contains("nftables, table inet apiserver-proxy-443-"), "{line}");
    assert!(line.contains("there is no iptables program"), "{line}");
    assert_eq!(sh("/run/nft list ruleset").matches("port 443 counter").count(), 5);
}
