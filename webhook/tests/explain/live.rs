//! In a namespace where there is a proxy and little else: who comes to it?

use std::{fs, net::IpAddr, process::Command};

use common::egress::{Config, Dialect, Target, variables};
use serde_json::Value;
use testkit::{netns::Netns, process::sh, recorder::Recorder, testdata};

use crate::{
    document,
    programs::{self, Program},
};

const PROXY: &str = "http://127.0.0.1:3128";

/// Where a host of port 8080 really is.
const LOCAL: [&str; 8] = [
    "10.96.0.1",
    "10.9.0.77",
    "10.244.1.5",
    "192.0.2.10",
    "fd00:10:96::1",
    "fd00::6443",
    "fd00::6444",
    "2001:db8::7",
];

struct Place {
    _netns: Netns,
    proxy: Recorder,
    hosts: Recorder,
}

impl Place {
    fn new() -> Self {
        let netns = Netns::enter();
        // No name server is waited for.
        sh("! [ -e /etc/resolv.conf ] || mount --bind /dev/null /etc/resolv.conf");
        for address in LOCAL {
            let bits = if address.contains(':') { 128 } else { 32 };
            sh(&format!(
                "ip addr add {address}/{bits} dev lo nodad 2>/dev/null || ip addr add {address}/{bits} dev lo"
            ));
        }
        // It is there, too, where the seed's would be.
        sh("ip addr add 192.168.52.220/32 dev lo");
        let proxy = Recorder::start("[::]:3128");
        Self { _netns: netns, proxy, hosts: Recorder::start("[::]:8080") }
    }
}

/// Not those of IPv4 within IPv6: Ruby connects to none of them.
fn is_here(target: &Target) -> bool {
    let at = |address: IpAddr| {
        address.is_loopback()
            || address.is_unspecified()
            || LOCAL.iter().any(|local| local.parse() == Ok(address))
    };
    target.port() == Some(8080) && target.host().parse().is_ok_and(at)
}

/// What `explain` says of each URL: whether a dialect takes the proxy.
fn explained(file: &str, urls: &[String]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"))
        .args(["no-proxy", "explain", "--output=json", "--config"])
        .arg(testdata(file))
        .args(urls)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hosts = report["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), urls.len());
    hosts.clone()
}

fn each_program_does_what_is_explained(file: &str) {
    let place = Place::new();
    let hosts = fs::read_to_string(testdata("egress/lists/hosts.txt")).unwrap();
    let hosts = hosts.lines().filter(|line| !line.starts_with('#'));
    let urls: Vec<String> =
        hosts.flat_map(|host| [format!("http://{host}/"), format!("https://{host}/")]).collect();
    assert!(urls.len() >= 2 * 35);
    let explained = explained(file, &urls);
    let config = Config::parse(&fs::read_to_string(testdata(file)).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for program in programs::ALL {
        let environment = variables(&config);
        let environment =
            environment.iter().map(|variable| (variable.name, variable.value.reveal().to_owned()));
        let mut running = Program::start(program, environment.collect());
        let dialect = programs::dialect(program);
        for (url, explained) in urls.iter().zip(&explained) {
            let explained = explained["programs"].as_array().unwrap();
            let explained = explained.iter().find(|program| program["id"] == dialect).unwrap();
            let came = running.comes_to(&place.proxy, url);
            let arrived = !place.hosts.take().is_empty();
            let expected = explained["proxied"].as_bool().unwrap();
            if came != expected || (!came && is_here(&url.parse().unwrap()) && !arrived) || (came && arrived)
            {
                wrong.push(format!("{dialect}: {url} came {came}, arrived {arrived}, but {explained}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn with_the_seeds_list() {
    each_program_does_what_is_explained("egress/seed/config.yaml");
}

#[test]
fn with_a_wide_list() {
    each_program_does_what_is_explained("egress/lists/wide.yaml");
}

#[test]
fn with_a_named_api_server() {
    each_program_does_what_is_explained("egress/lists/named.yaml");
}

#[test]
fn with_odd_members() {
    each_program_does_what_is_explained("egress/lists/odd.yaml");
}

/// The rows of the document's table.
#[test]
fn as_it_is_documented() {
    let place = Place::new();
    for program in programs::ALL {
        let dialect = programs::dialect(program);
        let dialect = Dialect::ALL.into_iter().find(|known| known.id() == dialect).unwrap();
        for row in document::rows() {
            let environment = [("http_proxy", PROXY), ("no_proxy", row.no_proxy)];
            let environment = environment.map(|(name, value)| (name, value.to_owned())).to_vec();
            let mut running = Program::start(program, environment);
            let came = running.comes_to(&place.proxy, &format!("http://{}/", row.host));
            assert_eq!(came, row.is_proxied(dialect), "{dialect}: {row:?}");
        }
    }
}

/// The document's table of spellings: each of its cells, but for Go's.
#[test]
fn variables_are_read_as_documented() {
    let place = Place::new();
    let (proxy, other) = (PROXY.to_owned(), "http://127.0.0.1:1".to_owned());
    let list = |text: &str| text.to_owned();
    for program in programs::ALL {
        let is_proxied = |url: &str, environment: &[(&'static str, &String)]| {
            let environment = environment.iter().map(|(name, value)| (*name, (*value).clone())).collect();
            Program::start(program, environment).comes_to(&place.proxy, url)
        };
        let (http, https) = ("http://a.b/", "https://a.b/");
        let both = |lower, upper, upper_is_read: bool, lower_is_read: bool, lower_wins: bool| match (
            lower_is_read,
            upper_is_read,
        ) {
            (true, true) if lower_wins => format!("`{lower}`, else `{upper}`"),
            (true, true) => format!("`{upper}`, else `{lower}`"),
            (true, false) => format!("`{lower}`"),
            (false, true) => format!("`{upper}`"),
            (false, false) => "neither".to_owned(),
        };
        let of_http = both(
            "http_proxy",
            "HTTP_PROXY",
            is_proxied(http, &[("HTTP_PROXY", &proxy)]),
            is_proxied(http, &[("http_proxy", &proxy)]),
            is_proxied(http, &[("http_proxy", &proxy), ("HTTP_PROXY", &other)]),
        );
        let mut of_https = both(
            "https_proxy",
            "HTTPS_PROXY",
            is_proxied(https, &[("HTTPS_PROXY", &proxy)]),
            is_proxied(https, &[("https_proxy", &proxy)]),
            is_proxied(https, &[("https_proxy", &proxy), ("HTTPS_PROXY", &other)]),
        );
        if is_proxied(https, &[("http_proxy", &proxy)]) {
            assert_eq!(of_https, "neither");
            of_https = "as for `http://`".to_owned();
        }
        let (here, elsewhere) = (list("a.b"), list("c.d"));
        let of_list = both(
            "no_proxy",
            "NO_PROXY",
            !is_proxied(http, &[("http_proxy", &proxy), ("NO_PROXY", &here)]),
            !is_proxied(http, &[("http_proxy", &proxy), ("no_proxy", &here)]),
            !is_proxied(http, &[("http_proxy", &proxy), ("no_proxy", &here), ("NO_PROXY", &elsewhere)]),
        );
        let row = format!("| {program} | {of_http} | {of_https} | {of_list} |");
        assert!(document::TEXT.contains(&row), "not in the document: {row}");
    }
}
