//! What every test of the agent needs: the binary, a backend and a family, and the kernel's own view.

use std::process::Command;

use testkit::process::{Running, sh};

/// A command for the agent's binary.
pub fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-sidecar"))
}

/// One backend and one address family; the tests that are for all of them run once for each.
#[derive(Clone, Copy)]
pub struct Case {
    /// `iptables-nft`, `iptables-legacy` or `nftables`
    pub backend: &'static str,
    /// `nft` or `legacy`: the iptables programs that show the node's other rules.
    pub variant: &'static str,
    /// `iptables` or `ip6tables`
    pub family: &'static str,
    /// The agent's address.
    pub address: &'static str,
    /// With its prefix.
    pub net: &'static str,
    /// An address of somebody else.
    pub foreign: &'static str,
}

const V4: Case = Case {
    backend: "iptables-nft",
    variant: "nft",
    family: "iptables",
    address: "10.96.0.2",
    net: "10.96.0.2/32",
    foreign: "10.96.0.9/32",
};
const V6: Case = Case {
    backend: "iptables-nft",
    variant: "nft",
    family: "ip6tables",
    address: "fd00::2",
    net: "fd00::2/128",
    foreign: "fd00::9/128",
};
pub const NFT_V4: Case = V4;
pub const NFT_V6: Case = V6;
pub const LEGACY_V4: Case = Case { backend: "iptables-legacy", variant: "legacy", ..V4 };
pub const LEGACY_V6: Case = Case { backend: "iptables-legacy", variant: "legacy", ..V6 };
pub const NFTABLES_V4: Case = Case { backend: "nftables", ..V4 };
pub const NFTABLES_V6: Case = Case { backend: "nftables", ..V6 };

/// Makes a test of a function that takes a [`Case`], once for each.
macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            use crate::fixture;
            #[test]
            fn nft_v4() { super::$test(fixture::NFT_V4); }
            #[test]
            fn nft_v6() { super::$test(fixture::NFT_V6); }
            #[test]
            fn legacy_v4() { super::$test(fixture::LEGACY_V4); }
            #[test]
            fn legacy_v6() { super::$test(fixture::LEGACY_V6); }
            #[test]
            fn nftables_v4() { super::$test(fixture::NFTABLES_V4); }
            #[test]
            fn nftables_v6() { super::$test(fixture::NFTABLES_V6); }
        }
    )+ };
}
pub(crate) use on_every_backend;

impl Case {
    /// The agent with rules on this backend.
    pub fn agent(&self, args: &[&str]) -> Command {
        let mut command = agent();
        command.arg(format!("--ip-address={}", self.address)).arg("--setup-iptables");
        command.arg(format!("--rules-backend={}", self.backend)).args(args);
        command
    }

    /// Starts it and waits until all is in place.
    pub fn start(&self, args: &[&str]) -> Running {
        let running = Running::start(&mut self.agent(args));
        running.wait_for("in place, watching");
        running
    }

    /// Runs it once; it must succeed.
    #[track_caller]
    pub fn one_shot(&self) {
        let (status, printed) = Running::start(&mut self.agent(&["--daemon=false"])).wait();
        assert!(status.success(), "{printed}");
    }

    /// Runs an iptables command of this backend and family.
    #[track_caller]
    pub fn iptables(&self, args: &str) {
        sh(&format!("{}-{} {args}", self.family, self.variant));
    }

    /// All rules of the tables raw and filter, and those of our own table where that is the backend, as `TABLE RULE`.
    pub fn rules(&self) -> Vec<String> {
        let saved = sh(&format!("{}-{}-save", self.family, self.variant));
        let mut table = "";
        let mut rules = Vec::new();
        for line in saved.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if line.starts_with("-A") && ["raw", "filter"].contains(&table) {
                rules.push(format!("{table} {line}"));
            }
        }
        if let Some(table) = self.own_table() {
            rules.extend(as_iptables(&sh(&format!("nft list table inet {table}"))));
        }
        rules.sort_by_key(|rule| (rule.starts_with("filter"), chain_order(rule)));
        rules
    }

    /// The name of our own table, where that is the backend and it is there.
    pub fn own_table(&self) -> Option<String> {
        let tables = (self.backend == "nftables").then(|| sh("nft list tables"))?;
        tables.split_whitespace().find(|word| word.starts_with("apiserver-proxy-")).map(ToOwned::to_owned)
    }

    /// Deletes the first of our rules in a chain.
    pub fn delete_one(&self, table: &str, chain: &str) {
        let Some(own) = self.own_table() else { return self.iptables(&format!("-t {table} -D {chain} 1")) };
        let chain = format!("{table}_{}", chain.to_lowercase());
        let listed = sh(&format!("nft -a list chain inet {own} {chain}"));
        let rule = listed.lines().find(|line| line.contains("counter")).unwrap();
        let (_, handle) = rule.split_once("# handle ").unwrap();
        sh(&format!("nft delete rule inet {own} {chain} handle {handle}"));
    }

    /// Deletes all rules of a table.
    pub fn flush(&self, table: &str) {
        let Some(own) = self.own_table() else { return self.iptables(&format!("-t {table} -F")) };
        for hook in ["prerouting", "input", "output"] {
            // raw has no input, filter no prerouting.
            let _ = testkit::process::try_sh(&format!("nft flush chain inet {own} {table}_{hook}"));
        }
    }

    /// Adds another copy of a rule.
    pub fn copy_one(&self) {
        let Some(own) = self.own_table() else {
            return self.iptables(&format!("-A INPUT -d {} -p tcp -m tcp --dport 443 -j ACCEPT", self.net));
        };
        let ip = if self.family == "iptables" { "ip" } else { "ip6" };
        sh(&format!(
            "nft add rule inet {own} filter_input {ip} daddr {} tcp dport 443 counter accept",
            self.address
        ));
    }

    /// The five lines of the seed document, for this address.
    pub fn wanted(&self) -> Vec<String> {
        let net = self.net;
        vec![
            format!("raw -A PREROUTING -d {net} -p tcp -m tcp --dport 443 -j NOTRACK"),
            format!("raw -A OUTPUT -d {net} -p tcp -m tcp --dport 443 -j NOTRACK"),
            format!("raw -A OUTPUT -s {net} -p tcp -m tcp --sport 443 -j NOTRACK"),
            format!("filter -A INPUT -d {net} -p tcp -m tcp --dport 443 -j ACCEPT"),
            format!("filter -A OUTPUT -s {net} -p tcp -m tcp --sport 443 -j ACCEPT"),
        ]
    }
}

/// What nft lists, as `iptables-save` would have it.
fn as_iptables(listed: &str) -> Vec<String> {
    let (mut place, mut rules) = (String::new(), Vec::new());
    for line in listed.lines().map(str::trim) {
        if let Some(chain) = line.strip_prefix("chain ") {
            let (table, hook) = chain.trim_end_matches(" {").split_once('_').unwrap();
            place = format!("{table} -A {}", hook.to_uppercase());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [ip @ ("ip" | "ip6"), address @ ("daddr" | "saddr"), net, "tcp", port, number, rest @ ..] =
            words.as_slice()
        else {
            continue;
        };
        let length = if *ip == "ip" { 32 } else { 128 };
        let side = &address[..1];
        let target = rest.last().unwrap().to_uppercase();
        rules.push(format!("{place} -{side} {net}/{length} -p tcp -m tcp --{port} {number} -j {target}"));
    }
    rules
}

/// The kernel lists chains in hook order or in the order of their making; here always in hook order.
fn chain_order(rule: &str) -> usize {
    ["PREROUTING", "INPUT", "FORWARD", "OUTPUT"].iter().position(|chain| rule.contains(chain)).unwrap_or(9)
}

/// Whether an address, with its prefix, is on a device.
pub fn has_address(device: &str, net: &str) -> bool {
    sh(&format!("ip -oneline addr show dev {device}")).split_whitespace().any(|word| word == net)
}
