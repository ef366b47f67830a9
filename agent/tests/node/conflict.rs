//! DNAT that is in the agent's way, found among the rules of a node: see `testdata/agent/conflict`.

use std::{fmt::Write as _, fs, time::Instant};

use agent::conflict::{Conflict, Question, Search};
use testkit::{netns::Netns, process::sh, testdata};

/// A way to write rules, with its names for things.
#[derive(Clone, Copy)]
struct Writer {
    /// `nft`, `iptables-nft`, `iptables-legacy`
    backend: &'static str,
    v6: bool,
}

impl Writer {
    /// Installs the node's rules.
    fn install(self) {
        let family = if self.v6 { "v6" } else { "v4" };
        if self.backend == "nft" {
            sh(&format!("nft -f {}", testdata(&format!("agent/conflict/{family}.nft")).display()));
        } else {
            let rules = testdata(&format!("agent/conflict/{family}.rules"));
            sh(&format!("{}-restore <{}", self.program(), rules.display()));
        }
    }

    fn program(self) -> String {
        if self.v6 { self.backend.replace("ip", "ip6") } else { self.backend.to_owned() }
    }

    /// The address of the same meaning in this family: the table below is written for IPv4.
    fn address(self, v4: &str) -> String {
        let parts: Vec<&str> = v4.split('.').collect();
        match parts[..] {
            _ if !self.v6 => v4.to_owned(),
            ["203", ..] => "2001:db8::7".to_owned(),
            ["10", net, c, d] | ["192", net, c, d] => format!("fd00:{net}::{c}:{d}"),
            _ => panic!("{v4} has no other"),
        }
    }

    /// What is there of conflicts, each as its place.
    fn found(self, address: &str, port: u16, rules: bool) -> Vec<String> {
        let found = look(&[&self.address(address)], port, rules);
        found.into_iter().map(|conflict| conflict.place).collect()
    }

    /// A place in kube-proxy's table, and in that of others.
    fn places(self, chains: &str) -> String {
        match (self.backend, chains.split(' ').next()) {
            ("nft", Some("prerouting" | "away")) if self.v6 => format!("inet others6 {chains}"),
            ("nft", Some("prerouting" | "away")) => format!("inet others {chains}"),
            ("nft", _) if self.v6 => format!("ip6 kube-proxy {chains}"),
            ("nft", _) => format!("ip kube-proxy {chains}"),
            ("iptables-nft", _) if self.v6 => format!("ip6 nat {chains}"),
            ("iptables-nft", _) => format!("ip nat {chains}"),
            _ => format!("{} nat {chains}", self.program()),
        }
    }

    #[track_caller]
    fn expect(self, rules: bool, cases: &[(&str, u16, &[&str])]) {
        for (address, port, places) in cases {
            let expected: Vec<String> = places.iter().map(|place| self.places(place)).collect();
            let found = self.found(address, *port, rules);
            assert_eq!(found, expected, "{address}:{port} on {}", self.program());
        }
    }
}

fn look(addresses: &[&str], port: u16, rules: bool) -> Vec<Conflict> {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let search = Search::new(Question { addresses, port: port.try_into().unwrap(), rules });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(search.look()).unwrap()
}

macro_rules! on_both_families {
    ($($test:ident: $check:ident, $backend:literal;)+) => { $(
        mod $test {
            #[test]
            fn v4() { super::$check(super::Writer { backend: $backend, v6: false }); }
            #[test]
            fn v6() { super::$check(super::Writer { backend: $backend, v6: true }); }
        }
    )+ };
}

on_both_families! {
    nft: check_nft, "nft";
    iptables_nft: check_iptables, "iptables-nft";
    iptables_legacy: check_iptables, "iptables-legacy";
}

fn check_iptables(writer: Writer) {
    let _netns = Netns::enter();
    writer.install();
    let (api, web) = ("KUBE-SERVICES > KUBE-SVC-API > KUBE-SEP-API-1", "KUBE-SVC-WEB > KUBE-SEP-WEB");
    let ext = format!("KUBE-SERVICES > KUBE-EXT-WEB > {web}");
    let node_port = format!("KUBE-SERVICES > KUBE-NODEPORTS > KUBE-EXT-WEB > {web}");
    let host_port = "CNI-HOSTPORT-DNAT > CNI-DN-1";
    writer.expect(
        false,
        &[
            ("10.96.0.1", 443, &[api]),
            ("10.96.0.1", 80, &[]),
            ("10.96.0.10", 53, &["KUBE-SERVICES > KUBE-SVC-DNS-TCP > KUBE-SEP-DNS-TCP"]),
            ("10.96.0.10", 443, &[]),
            ("10.96.7.7", 80, &[&format!("KUBE-SERVICES > {web}")]),
            ("203.0.113.7", 80, &[&ext]),
            // Rejected, not translated.
            ("10.96.9.9", 443, &[]),
            ("10.96.0.2", 443, &[]),
            // Whatever is local.
            ("10.96.0.2", 30080, &[&node_port]),
            ("10.96.0.2", 8443, &[&format!("OUTPUT > {host_port}"), &format!("PREROUTING > {host_port}")]),
            ("192.168.1.1", 6443, &[]),
            ("10.1.0.1", 443, &["OTHERS"]),
            ("10.1.0.1", 80, &[]),
            ("10.1.0.2", 443, &["OTHERS"]),
            ("10.1.0.3", 443, &[]),
            ("10.1.0.4", 443, &[]),
            ("10.1.0.5", 443, &[]),
            ("10.1.0.6", 443, &[]),
            ("10.1.7.7", 443, &["OTHERS"]),
            ("10.1.8.8", 443, &[]),
            ("10.1.8.8", 80, &["OTHERS"]),
            ("10.1.9.9", 443, &["OTHERS"]),
            ("10.1.9.9", 399, &[]),
            ("10.1.0.9", 443, &[]),
            ("10.1.0.20", 1, &["OTHERS"]),
            ("10.1.0.19", 1, &[]),
            ("10.1.0.30", 443, &[]),
        ],
    );
    writer.expect(
        true,
        &[
            ("192.168.1.1", 6443, &["KUBE-SEP-API-1"]),
            ("192.168.1.2", 6443, &["KUBE-SEP-API-2"]),
            ("192.168.1.1", 443, &[]),
            ("192.168.1.3", 6443, &[]),
            ("10.244.0.2", 53, &["KUBE-SEP-DNS-TCP"]),
            ("10.244.0.3", 8080, &["KUBE-SEP-WEB"]),
            ("10.244.0.3", 80, &[]),
            ("10.96.0.1", 443, &[]),
            ("10.96.0.2", 443, &[]),
            ("10.1.1.1", 443, &["OTHERS"]),
            ("10.1.1.1", 80, &[]),
            ("10.1.1.2", 1, &["OTHERS"]),
            ("10.1.1.3", 443, &[]),
            ("10.1.1.3", 80, &["OTHERS"]),
            ("10.1.1.5", 443, &[]),
            ("10.1.1.7", 443, &["OTHERS"]),
            ("10.1.1.8", 443, &["OTHERS"]),
            ("10.1.1.9", 443, &["OTHERS"]),
            ("10.1.0.3", 443, &[]),
        ],
    );
}

fn check_nft(writer: Writer) {
    let _netns = Netns::enter();
    writer.install();
    let endpoint = |name: &str, address: &str, port: u16| {
        format!("endpoint-{name}__{}/{port}", writer.address(address).replace(':', "."))
    };
    let api = "API-default/kubernetes/tcp/https";
    let [first, second] = ["192.168.1.1", "192.168.1.2"].map(|address| endpoint(api, address, 6443));
    let web = "WEB-default/web/tcp/http";
    let web_endpoint = endpoint(web, "10.244.0.3", 8080);
    let service = format!("service-{web} > {web_endpoint}");
    writer.expect(
        false,
        &[
            ("10.96.0.1", 443, &[&format!("services > service-{api} > {first}")]),
            ("10.96.0.1", 80, &[]),
            ("10.96.0.10", 53, &[]),
            ("10.96.7.7", 80, &[&format!("services > {service}")]),
            ("203.0.113.7", 80, &[&format!("services > external-{web} > {service}")]),
            ("10.96.9.9", 443, &[]),
            ("10.96.0.2", 443, &[]),
            ("10.96.0.2", 30080, &[&format!("services > external-{web} > {service}")]),
            ("192.168.1.1", 6443, &[]),
            ("10.1.0.1", 443, &["prerouting"]),
            ("10.1.0.1", 80, &[]),
            ("10.1.0.2", 443, &["prerouting"]),
            ("10.1.0.2", 444, &[]),
            ("10.1.0.3", 443, &[]),
            ("10.1.0.4", 443, &[]),
            ("10.1.0.5", 443, &[]),
            ("10.1.0.6", 443, &[]),
            ("10.1.7.7", 443, &["prerouting"]),
            ("10.1.8.8", 443, &[]),
            ("10.1.8.8", 80, &["prerouting"]),
            ("10.1.9.9", 443, &["prerouting"]),
            ("10.1.9.9", 399, &[]),
            ("10.1.9.9", 501, &[]),
            ("10.1.10.10", 443, &[]),
            ("10.1.0.9", 443, &[]),
            ("10.1.0.20", 443, &["prerouting"]),
            ("10.1.0.20", 501, &[]),
            ("10.1.0.19", 443, &[]),
            ("10.1.0.30", 443, &[]),
            // The sender is a part of the key.
            ("10.1.0.31", 443, &["prerouting > away"]),
            ("10.1.0.32", 443, &[]),
            ("10.1.0.33", 443, &["prerouting"]),
            ("10.1.0.34", 443, &[]),
            ("10.1.0.35", 443, &["prerouting > away"]),
            ("10.1.0.36", 443, &[]),
            ("10.1.0.37", 443, &[]),
        ],
    );
    writer.expect(
        true,
        &[
            ("192.168.1.1", 6443, &[&first]),
            ("192.168.1.2", 6443, &[&second]),
            ("192.168.1.1", 443, &[]),
            ("10.244.0.2", 53, &[]),
            ("10.244.0.3", 8080, &[&web_endpoint]),
            ("10.96.0.1", 443, &[]),
            ("10.1.1.1", 443, &["prerouting"]),
            ("10.1.1.1", 80, &[]),
            ("10.1.1.2", 443, &["prerouting"]),
            ("10.1.1.3", 443, &[]),
            ("10.1.1.3", 80, &["prerouting"]),
            ("10.1.1.5", 443, &[]),
            ("10.1.1.6", 443, &["away"]),
            ("10.1.1.7", 443, &["prerouting"]),
            ("10.1.1.8", 443, &["prerouting"]),
            ("10.1.1.9", 443, &["prerouting"]),
            ("10.1.0.3", 443, &[]),
        ],
    );
}

#[test]
fn nothing_is_found_and_nothing_made_where_nothing_is() {
    let _netns = Netns::enter();
    for rules in [true, false] {
        assert_eq!(look(&["10.96.0.1", "fd00::2"], 443, rules), []);
    }
    assert_eq!(sh("nft list ruleset"), "");
    assert_eq!(sh("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"), "");
}

#[test]
fn all_addresses_and_interfaces_are_looked_at() {
    let _netns = Netns::enter();
    for backend in ["nft", "iptables-nft", "iptables-legacy"] {
        Writer { backend, v6: false }.install();
        Writer { backend, v6: true }.install();
    }
    let found = look(&["10.96.0.1", "10.96.0.2", "fd00:96::0:1"], 443, false);
    let places: Vec<&str> =
        found.iter().map(|conflict| conflict.place.split_inclusive(' ').next().unwrap().trim()).collect();
    assert_eq!(places, ["ip", "ip", "iptables-legacy", "ip6", "ip6", "ip6tables-legacy"]);
    assert_eq!(found[0].address.to_string(), "10.96.0.1");
    let line = found[1].to_string();
    assert!(line.contains("10.96.0.1:443") && line.contains("(ip nat KUBE-SERVICES >"), "{line}");
    assert!(found[5].to_string().contains("[fd00:96::1]:443"), "{}", found[5]);
}

/// A chain for each of many Services and endpoints, as kube-proxy writes them: 7 rules a Service.
fn many_services(services: usize) -> String {
    let (mut chains, mut rules) =
        (String::from("*nat\n:KUBE-SERVICES -\n:KUBE-MARK-MASQ -\n"), String::new());
    rules.push_str("-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n");
    for n in 0..services {
        let (high, low) = (n / 250, n % 250);
        write!(chains, ":KUBE-SVC-{n} -\n:KUBE-SEP-{n}-A -\n:KUBE-SEP-{n}-B -\n").unwrap();
        let comment = format!("-m comment --comment \"namespace-{high}/service-{n}:https\"");
        writeln!(
            rules,
            "-A KUBE-SERVICES -d 10.98.{high}.{low}/32 -p tcp {comment} -m tcp --dport 443 -j KUBE-SVC-{n}"
        )
        .unwrap();
        writeln!(
            rules,
            "-A KUBE-SVC-{n} {comment} -m statistic --mode random --probability 0.5 -j KUBE-SEP-{n}-A"
        )
        .unwrap();
        writeln!(rules, "-A KUBE-SVC-{n} {comment} -j KUBE-SEP-{n}-B").unwrap();
        for (side, net) in [("A", 245), ("B", 246)] {
            let endpoint = format!("10.{net}.{high}.{low}");
            writeln!(rules, "-A KUBE-SEP-{n}-{side} -s {endpoint}/32 {comment} -j KUBE-MARK-MASQ").unwrap();
            writeln!(
                rules,
                "-A KUBE-SEP-{n}-{side} -p tcp {comment} -m tcp -j DNAT --to-destination {endpoint}:8443"
            )
            .unwrap();
        }
    }
    format!("{chains}{rules}COMMIT\n")
}

/// The same in the form of nftables mode.
fn many_services_nft(services: usize) -> String {
    let mut text = String::from(
        "table ip kube-proxy {\nmap service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }\n\
         chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }\n\
         chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }\n\
         chain nat-output { type nat hook output priority -100; jump services; }\n",
    );
    let mut elements = Vec::new();
    for n in 0..services {
        let (high, low) = (n / 250, n % 250);
        for (side, net) in [("A", 245), ("B", 246)] {
            let endpoint = format!("10.{net}.{high}.{low}");
            writeln!(text, "chain endpoint-{n}-{side} {{ ip saddr {endpoint} continue; meta l4proto tcp dnat to {endpoint}:8443; }}")
                .unwrap();
        }
        writeln!(text, "chain service-{n} {{ numgen random mod 2 vmap {{ 0 : goto endpoint-{n}-A, 1 : goto endpoint-{n}-B }}; }}")
            .unwrap();
        elements.push(format!("10.98.{high}.{low} . tcp . 443 : goto service-{n}"));
    }
    format!("{text}}}\nadd element ip kube-proxy service-ips {{ {} }}\n", elements.join(", "))
}

/// Times are printed, not judged: `cargo test -p agent large -- --nocapture`.
fn large(name: &str, restore: &str, rules: &str) {
    let _netns = Netns::enter();
    fs::write("/run/rules", rules).unwrap();
    sh(&format!("{restore} /run/rules"));
    for (address, port, rules) in
        [("10.98.8.7", 443, false), ("10.246.8.7", 8443, true), ("10.97.1.1", 443, false)]
    {
        let mut times = Vec::new();
        let mut found = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            found = look(&[address], port, rules);
            times.push(start.elapsed());
        }
        times.sort();
        let places: Vec<String> = found.into_iter().map(|conflict| conflict.place).collect();
        println!("{name}, rules {rules}, {address}:{port}: {:?} (median of 5), {places:?}", times[2]);
        assert_eq!(places.len(), usize::from(address != "10.97.1.1"));
    }
}

#[test]
fn large_iptables_nft() {
    large("15,000 rules of iptables-nft", "iptables-nft-restore", &many_services(2143));
}

#[test]
fn large_iptables_legacy() {
    large("15,000 rules of iptables-legacy", "iptables-legacy-restore", &many_services(2143));
}

#[test]
fn large_nft() {
    large("15,000 rules and elements of nft", "nft -f", &many_services_nft(2500));
}
