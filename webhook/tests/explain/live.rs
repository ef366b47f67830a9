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
        let environment = variables(&config).into_iter();
        let environment =
            environment.map(|variable| (variable.name.to_owned(), variable.value.reveal().to_owned()));
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
        let rows = document::rows();
        for rows in rows.chunk_by(|a, b| a.no_proxy == b.no_proxy) {
            let environment = [("http_proxy", PROXY), ("no_proxy", rows[0].no_proxy)];
            let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            let mut running = Program::start(program, environment);
            for row in rows {
                let came = running.comes_to(&place.proxy, &format!("http://{}/", row.host));
                assert_eq!(came, row.is_proxied(dialect), "{dialect}: {row:?}");
            }
        }
    }
}

/// In which spelling a variable is read. `counts` is given an environment of some variables of that name, each with
/// whether it is the one that should have its effect.
fn spelling(lower: &str, counts: impl Fn(&[(&str, bool)]) -> bool) -> String {
    let upper = &*lower.to_uppercase();
    let both = [(lower, true), (upper, false)];
    match (counts(&both[..1]), counts(&[(upper, true)])) {
        (true, true) if counts(&both) => format!("`{lower}`, else `{upper}`"),
        (true, true) => format!("`{upper}`, else `{lower}`"),
        (true, false) => format!("`{lower}`"),
        (false, true) => format!("`{upper}`"),
        (false, false) => "none".to_owned(),
    }
}

/// The document's table of spellings, but for Go's row.
#[test]
fn variables_are_read_as_documented() {
    let place = Place::new();
    for program in programs::ALL {
        let is_proxied = |url: &str, environment: Vec<(String, String)>| {
            Program::start(program, environment).comes_to(&place.proxy, url)
        };
        let of_proxy = |lower: &str, url: &str| {
            spelling(lower, |variables| {
                let proxy = |(name, counts): &(&str, bool)| {
                    ((*name).to_owned(), if *counts { PROXY } else { "http://127.0.0.1:1" }.to_owned())
                };
                is_proxied(url, variables.iter().map(proxy).collect())
            })
        };
        let of_http = of_proxy("http_proxy", "http://a.b/");
        let of_https = match of_proxy("https_proxy", "https://a.b/") {
            none if none == "none" && of_proxy("http_proxy", "https://a.b/") == of_http => {
                "as for `http://`".to_owned()
            }
            of_https => of_https,
        };
        let of_list = spelling("no_proxy", |variables| {
            let list = |(name, counts): &(&str, bool)| {
                ((*name).to_owned(), if *counts { "a.b" } else { "c.d" }.to_owned())
            };
            let proxy = ("http_proxy".to_owned(), PROXY.to_owned());
            !is_proxied("http://a.b/", variables.iter().map(list).chain([proxy]).collect())
        });
        let row = format!("| {program} | {of_http} | {of_https} | {of_list} |");
        assert!(document::TEXT.contains(&row), "not in the document: {row}");
    }
}
