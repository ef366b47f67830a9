//! What the file says, and what comes of it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SEED: &str = include_str!("../../../testdata/egress/seed/config.yaml");

fn config(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn with_proxy(rest: &str) -> Config {
    config(&format!("proxy: {{http: 'http://proxy'}}\n{rest}"))
}

const KYVERNO: &str = "policies.kyverno.io/inject-proxy-env";

#[test]
fn the_seed_comes_out_to_the_letter() {
    let config = config(SEED);
    let expected = include_str!("../../../testdata/egress/seed/no-proxy.txt");
    assert_eq!(no_proxy(&config).to_string(), expected.trim_end());
    assert_eq!(drop_in(&config).reveal(), include_str!("../../../testdata/egress/seed/http-proxy.conf"));
    let names: Vec<_> = variables(&config).iter().map(|variable| variable.name).collect();
    assert_eq!(names, ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"]);
    let exclude = &config.pods.exclude;
    assert!(exclude.covers_namespace("kube-system") && !exclude.covers_namespace("x"));
    assert!(exclude.covers_name("capi-x") && !exclude.covers_name("x"));
    assert_eq!(exclude.annotation, Some((KYVERNO.to_owned(), "exclude".to_owned())));
    let exclude = with_proxy("").pods.exclude;
    assert!(exclude.names.is_empty() && exclude.annotation.is_none());
}

#[test]
fn nothing_that_is_printed_has_the_password() {
    let config = config(SEED);
    let printed = format!("{config:?} {:?} {:?}", variables(&config), drop_in(&config));
    assert!(!printed.contains("Password") && !printed.contains("myProxyUser"), "{printed}");
    assert!(printed.contains("http://***@192.168.52.220:3128"), "{printed}");
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = with_proxy("nodes:\npods: {exclude: {}}");
    assert_eq!(no_proxy(&config).to_string(), "cluster.local,svc,127.0.0.1,localhost");
    assert_eq!(config.nodes.units, ["containerd", "kubelet"]);
    assert_eq!(config.pods.exclude.namespaces, [Pattern::new("kube-system")]);
    assert_eq!((config.pods.overwrite, &config.pods.credentials_secret), (false, &None));
    assert_eq!(variables(&config).len(), 4, "no https");
    assert_eq!(with_proxy("pods: {exclude: {namespaces: []}}").pods.exclude.namespaces, []);
    let more =
        with_proxy("nodes: {units: docker.service}\npods: {overwrite: true, credentialsSecret: {name: a}}");
    assert_eq!((more.nodes.units, more.pods.overwrite), (vec!["docker".to_owned()], true));
    assert_eq!(more.pods.credentials_secret.as_deref(), Some("a"));
}

#[test]
fn lists_are_composed_in_order() {
    for (file, expected) in [
        (
            "cluster: {domain: corp.example., apiServer: Foo.bar.}",
            "corp.example,Foo.bar,Foo.bar.,svc,127.0.0.1,localhost",
        ),
        (
            "cluster: {apiServer: [10.0.0.1, api], podCIDRs: 10.1.0.0/16, serviceCIDRs: [10.2.0.0/16, 10.1.0.0/16]}",
            "cluster.local,10.2.0.0/16,10.1.0.0/16,10.0.0.1,api,api.,svc,127.0.0.1,localhost",
        ),
        ("dialects: wide", "cluster.local,svc,127.0.0.1,localhost,::1,.svc"),
        ("dialects: narrow", "cluster.local,svc,127.0.0.1,localhost"),
        ("cluster: {podCIDRs: 'fd00::/64'}", "cluster.local,fd00::/64,svc,127.0.0.1,localhost,::1,.svc"),
        ("cluster: {apiServer: 'fd00::1'}", "cluster.local,fd00::1,svc,127.0.0.1,localhost,::1,.svc"),
    ] {
        assert_eq!(no_proxy(&with_proxy(file)).to_string(), expected, "{file}");
    }
    let own = config("proxy:\n  http: http://p\n  noProxy:\n  - ' b, ,LOCALHOST,'\n  - b\n  - a\n");
    assert_eq!(no_proxy(&own).to_string(), "cluster.local,b,LOCALHOST,a,svc,127.0.0.1");
}

#[test]
fn a_named_api_server_is_direct_for_all_with_and_without_its_dot() {
    let list = no_proxy(&with_proxy("cluster: {apiServer: foo.bar}")).to_string();
    for host in ["foo.bar", "foo.bar."] {
        let ways = super::dialect::explain(&host.parse().unwrap(), &list);
        assert!(ways.iter().all(|(_, way)| !way.is_proxy()), "{host}: {ways:?}");
    }
}

#[test]
fn errors_say_where_and_what() {
    for (file, expected) in [
        ("", "line 1, column 1: proxy: no proxy is named; give http, https or both"),
        ("proxy:\n  noProxy: a\n", "line 2, column 3: proxy: no proxy is named; give http, https or both"),
        (
            "proxy:\n  htp: x\n",
            "line 2, column 3: proxy: unknown key \"htp\"; known are http, https, noProxy",
        ),
        (
            "proxies: 1",
            "line 1, column 1: unknown key \"proxies\"; known are proxy, cluster, pods, nodes, dialects",
        ),
        ("proxy: 3", "line 1, column 8: proxy: expected keys: http, https, noProxy"),
        ("proxy:\n  http: 3", "line 2, column 9: proxy.http: expected a text; write it in quotes"),
        ("proxy:\n  http: []", "line 2, column 9: proxy.http: expected a text"),
        (
            "proxy:\n  http: [a\n",
            "line 2, column 9: not valid YAML; indent with blanks, and write a text with special characters in it in single quotes",
        ),
        ("proxy: {}\nproxy: {}", "line 2, column 1: \"proxy\": stands there twice"),
        ("proxy: {}\n---\na: b", "line 3, column 1: only one document is expected"),
        (
            "proxy: {http: *pass}",
            "line 1, column 15: an alias without an anchor; write what begins with * in quotes",
        ),
    ] {
        assert_eq!(Config::parse(file).unwrap_err().to_string(), expected, "{file}");
    }
    for (rest, expected) in [
        (
            "cluster:\n  podCIDRs:\n  - 10.0.0.0/8\n  - 10.0.0.0/33",
            "line 5, column 5: cluster.podCIDRs: \"10.0.0.0/33\" is not a CIDR, such as 10.96.0.0/12",
        ),
        (
            "cluster: {serviceCIDRs: 10.0.0.1}",
            "line 2, column 25: cluster.serviceCIDRs: \"10.0.0.1\" is not a CIDR, such as 10.96.0.0/12",
        ),
        ("cluster: {domain: a b}", "line 2, column 19: cluster.domain: \"a b\" is not a DNS name"),
        (
            "cluster: {apiServer: 'https://a:6443'}",
            "line 2, column 22: cluster.apiServer: \"https://a:6443\" is not an address or a DNS name; leave out scheme and port",
        ),
        ("pods: {overwrite: yes}", "line 2, column 19: pods.overwrite: expected true or false"),
        (
            "pods: {exclude: {annotation: a}}",
            "line 2, column 30: pods.exclude.annotation: \"a\" is not an annotation's key and value, written key=value",
        ),
        (
            "pods: {exclude: {labels: a}}",
            "line 2, column 18: pods.exclude: unknown key \"labels\"; known are namespaces, names, annotation",
        ),
        (
            "pods: {credentialsSecret: {}}",
            "line 2, column 27: pods.credentialsSecret: the Secret's name is missing",
        ),
        (
            "pods: {credentialsSecret: {name: A}}",
            "line 2, column 34: pods.credentialsSecret.name: \"A\" is not the name of a Secret",
        ),
        (
            "nodes: {units: ../a}",
            "line 2, column 16: nodes.units: \"../a\" is not the name of a systemd service",
        ),
        ("dialects: all", "line 2, column 11: dialects: \"all\" is not one of narrow, wide"),
    ] {
        let file = format!("proxy: {{http: 'http://proxy'}}\n{rest}");
        assert_eq!(Config::parse(&file).unwrap_err().to_string(), expected, "{file}");
    }
    let cut = Config::parse("proxy: {http: http://p, noProxy: 'a,http://me:hun,ter2@proxy'}").unwrap_err();
    assert!(!cut.to_string().contains("hun") && cut.to_string().contains("***@proxy"), "{cut}");
    let member = Config::parse("proxy:\n  http: http://p\n  noProxy: a,*").unwrap_err();
    assert_eq!((member.line, &*member.key), (3, "proxy.noProxy"));
    assert!(member.problem.ends_with("to use no proxy at all, leave it out"), "{member}");
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let wrong = |bytes: &[u8]| Config::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(wrong(b"proxy:\n  http: \xff"), "line 2, column 9: not a text in UTF-8");
    assert_eq!(wrong(b"\xff"), "line 1, column 1: not a text in UTF-8");
    assert_eq!(Config::from_bytes(SEED.as_bytes()), Ok(config(SEED)));
}

#[test]
fn no_error_has_the_password() {
    for file in [
        "proxy:\n  http: http://me:hunter2/@proxy",
        "proxy:\n  http: http://me:hunter2@proxy:0",
        "proxy:\n  http: me:hunter2@proxy",
        "proxy:\n  http: http://me:hunter2@proxy\n http: x",
        "proxy:\n  http: http://me:hunter2@proxy: x",
        "proxy:\n  http: \"http://me:hunter2\\q@proxy\"",
        "proxy:\n  http: *hunter2@proxy",
        "proxy:\n  http: !hunter2@proxy",
        "proxy:\n  http: @hunter2",
        "proxy:\n  http: {hunter2}",
        "proxy:\n  http: http://p\n  noProxy: http://me:hunter2@proxy",
        "proxy:\n  http: http://p\n  http://me:hunter2@proxy: b",
        "proxy:\n  me:hunter2@proxy: b\n  me:hunter2@proxy: b",
        "http://me:hunter2@proxy",
        "dialects: http://me:hunter2@proxy\nproxy: {http: 'http://p'}",
    ] {
        let error = Config::parse(file).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

/// What editors, templates and people without mercy put into a file.
#[test]
fn odd_files() {
    let own = |text: &str| format!("proxy:\n  http: http://p\n  noProxy: {text}\n");
    for (file, expected) in [
        (own("a.b,c.d").replace('\n', "\r\n"), "a.b,c.d"),
        (format!("\u{feff}{}", own("a.b")), "a.b"),
        (format!("---\n{}...\n", own("a.b\t# and so on")), "a.b"),
        (own("|\n    a.b,\n    c.d\n"), "a.b,c.d"),
        (own(">-\n    a.b,\n    c.d\n"), "a.b,c.d"),
        (own("['a.b\u{a0}', yes, &x c.d, *x]"), "a.b,yes,c.d"),
        (own("['::ffff:10.0.0.1', 10.1.2.3/8, 10.0.0.0/8]"), "::ffff:10.0.0.1,10.1.2.3/8,10.0.0.0/8"),
        ("{\"proxy\": {\"http\": \"http://p\", \"noProxy\": \"a.b\"}}".to_owned(), "a.b"),
    ] {
        let list = no_proxy(&config(&file)).to_string();
        assert_eq!(list, format!("cluster.local,{expected},svc,127.0.0.1,localhost"), "{file}");
    }
    let (long, aliases) = ("a".repeat(400_000), "*a,".repeat(100_000));
    for (file, expected) in [
        (
            own("|\n    a.b\n    c.d"),
            "line 4, column 5: proxy.noProxy: \"a.b\\nc.d\" is not an address, a CIDR",
        ),
        (own("\"a\\tb\""), "line 3, column 12: proxy.noProxy: \"a\\tb\" is not an address, a CIDR"),
        (
            own("bücher.example"),
            "line 3, column 12: proxy.noProxy: \"bücher.example\" is not an address, a CIDR",
        ),
        (own("010.0.0.0/8"), "line 3, column 12: proxy.noProxy: \"010.0.0.0/8\" is not an address, a CIDR"),
        (own("10.0.0.0/08"), "line 3, column 12: proxy.noProxy: \"10.0.0.0/08\" is not an address, a CIDR"),
        (own("10.1"), "line 3, column 12: proxy.noProxy: expected a text; write it in quotes"),
        (own("[[a]]"), "line 3, column 13: proxy.noProxy: expected a text"),
        (own("[~]"), "line 3, column 13: proxy.noProxy: expected a text"),
        ("proxy:\n\thttp: http://p".to_owned(), "line 2, column 2: not valid YAML; indent with blanks"),
        ("proxy: {http: 'a', http: 'b'}".to_owned(), "line 1, column 20: \"http\": stands there twice"),
        (format!("proxy: {}", "[".repeat(100_000)), "line 1, column "),
        (format!("proxy: {}", "{a: ".repeat(100_000)), "line 1, column 68: too large for a configuration"),
        (format!("a: &a {long}\nb: [{aliases}]"), "line 1, column 7: too many aliases"),
        (
            format!("proxy: {{http: 'http://p'}}\ndialects: {}", "a".repeat(10 << 20)),
            "line 2, column 11: dialects: \"aaa",
        ),
    ] {
        let error = Config::parse(&file).unwrap_err().to_string();
        assert!(error.starts_with(expected) && error.len() < 300, "{error}");
    }
}

/// The kernel starts no program with a variable of 128 KiB: every Pod and every unit that got it would be down.
#[test]
fn no_variable_is_too_long_for_a_program_to_start() {
    let hosts = |count| (0..count).map(|n| format!("h{n}.example")).collect::<Vec<_>>().join(",");
    assert_eq!(
        no_proxy(&config(&format!("proxy: {{http: 'http://p', noProxy: '{}'}}", hosts(2000))))
            .members()
            .len(),
        2004
    );
    for (file, expected) in [
        (
            format!("cluster:\nproxy:\n  http: http://p\n  noProxy: {}", hosts(3000)),
            "line 3, column 3: proxy: NO_PROXY would be 40927 bytes long; 32768 are the most",
        ),
        (
            format!("proxy: {{https: 'http://me:{}@p'}}", "hunter2".repeat(5000)),
            "line 1, column 8: proxy: HTTPS_PROXY would be 35012 bytes long; 32768 are the most",
        ),
    ] {
        assert_eq!(Config::parse(&file).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_unit_that_is_named_twice_is_one() {
    let units = with_proxy("nodes: {units: [kubelet, containerd, kubelet.service]}").nodes.units;
    assert_eq!(units, ["kubelet", "containerd"]);
}

fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,3}(\\.[a-zA-Z]{1,3}){0,2}\\.?",
        "\\.[a-z]{1,3}",
        "10\\.[0-9]\\.0\\.[0-9](/[1-9])?",
        Just("localhost".to_owned()),
        Just("Svc".to_owned()),
        Just("::1".to_owned()),
    ]
}

proptest! {
    #[test]
    fn composing_again_changes_nothing(own in prop::collection::vec(member(), 0..8), names in prop::collection::vec("[a-c]{1,2}\\.?", 0..3), wide: bool) {
        let mut config = with_proxy(if wide { "dialects: wide" } else { "" });
        config.cluster.api_servers =
            names.iter().map(|name| ApiServer::Name(name.trim_end_matches('.').to_owned())).collect();
        config.proxy.no_proxy = own;
        let once = no_proxy(&config);
        let distinct: BTreeSet<_> = once.members().iter().map(|member| member.to_ascii_lowercase()).collect();
        prop_assert_eq!(distinct.len(), once.members().len());
        prop_assert!(!distinct.contains(""));
        config.proxy.no_proxy = once.members().to_vec();
        prop_assert_eq!(no_proxy(&config), once);
    }

    #[test]
    fn every_own_member_gets_through(own in prop::collection::vec(member(), 0..8)) {
        let config = config(&format!("proxy: {{http: 'http://p', noProxy: '{}'}}", own.join(",")));
        let list = no_proxy(&config);
        for member in own {
            prop_assert!(list.members().iter().any(|listed| listed.eq_ignore_ascii_case(&member)), "{} {}", member, list);
        }
    }

    #[test]
    fn no_text_panics_or_gives_a_password_away(text in "(proxy|[ \n:{}\\[\\]'\"&*!@|>,-]|http|a|SECRET){0,30}") {
        if let Err(error) = Config::parse(&text.replace("SECRET", "x:SECRET@")) {
            prop_assert!(!error.to_string().contains("SECRET"), "{}", error);
        }
    }
}
