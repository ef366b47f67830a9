use proptest::prelude::*;

use super::*;

const SEEN: &str = include_str!("../../../../testdata/egress/dialects.tsv");

fn target(text: &str) -> Target {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn each_does_what_the_program_did() {
    let (mut cells, mut wrong) = (0, Vec::new());
    for line in SEEN.lines().filter(|line| !line.starts_with('#')) {
        let [program, list, host, way] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let dialect = match program {
            "curl" => Dialect::Curl,
            _ => Dialect::ALL.into_iter().find(|dialect| dialect.id() == program).expect(line),
        };
        let verdict = dialect.way(&target(&format!("http://{host}/")), list);
        if way != if verdict.is_proxy() { "proxy" } else { "direct" } {
            wrong.push(format!("{line}, but {verdict}"));
        }
        cells += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cells > 1000, "{cells}");
}

/// Of those that were not at hand: what their sources say. The old and the new curl's is what their functions, on their own, said.
const READ: &[(Dialect, &str, &[&str], &[&str])] = &[
    (
        Dialect::CurlOld,
        "cluster.local,100.64.0.0/13,.Example.com,foo.bar.,1.1,svc",
        &[
            "a.cluster.local",
            "example.com",
            "WWW.example.com",
            "foo.bar.",
            "a.foo.bar.",
            "11.0.1.1",
            "a.b.svc",
        ],
        &["100.65.0.1", "notexample.com", "example.com.", "foo.bar", "xsvc", "a.b.svc.", "[::1]"],
    ),
    (Dialect::CurlOld, "fd00::/8,::1", &["[::1]"], &["[fd00::1]"]),
    (Dialect::CurlOld, "*", &["a", "10.0.0.1", "[::1]"], &[]),
    (Dialect::CurlOld, "a *", &["a"], &["b"]),
    (
        Dialect::CurlNew,
        "fd00::/8,2001:db8::/33,::1,[fd01::1],10.0.0.0/8,::/0",
        &["[fd00::1]", "[fd01::1]", "[2001:db8::1]", "[0:0:0:0:0:0:0:1]", "10.1.2.3", "[::]"],
        &["[2001:db8:8000::1]", "[fe00::1]", "11.0.0.1"],
    ),
    (Dialect::CurlNew, " a\t, b,,c d,e", &["a", "b", "c"], &["d", "e"]),
    (Dialect::Curl, "a b\tc,fd00::1", &["b", "c", "[fd00:0::1]"], &["[FD00::2]"]),
    (
        Dialect::Go,
        "cluster.local,100.64.0.0/13,178.170.32.59,.sub.net,*.wild.net,foo.bar.,[fd01::1]:443,fd02::/16,port.net:8080",
        &[
            "cluster.local",
            "A.Cluster.Local",
            "100.65.0.1",
            "178.170.32.59",
            "[::ffff:178.170.32.59]",
            "a.sub.net",
            "a.wild.net",
            "foo.bar.",
            "a.foo.bar.",
            "[fd01::1]",
            "[fd02::5]",
            "port.net:8080",
            "a.port.net:8080",
            "localhost",
            "127.0.0.9",
            "[::1]",
        ],
        &[
            "cluster.local.",
            "xcluster.local",
            "100.72.0.1",
            "sub.net",
            "wild.net",
            "foo.bar",
            "[fd01::1]:80",
            "[fd03::1]",
            "port.net",
            "LOCALHOST",
        ],
    ),
    (Dialect::Go, "a,*", &["b", "10.0.0.1"], &[]),
    (Dialect::Go, "[fd01::1],:80", &[], &["[fd01::1]", "a:80"]),
    (
        Dialect::NetHttp,
        "cluster.local,100.64.0.0/13,178.170.32.59,.sub.net,port.net:8080 spaced.net",
        &[
            "a.cluster.local",
            "A.Cluster.Local",
            "100.65.0.1",
            "178.170.32.59",
            "a.sub.net",
            "port.net:8080",
            "spaced.net",
            "localhost",
            "127.0.0.9",
            "[::1]",
        ],
        &["cluster.local.", "100.72.0.1", "sub.net", "port.net", "[fd00::1]"],
    ),
    (Dialect::NetHttp, "::1,fd00::/8", &["10.96.0.1"], &["10.96.0.2", "[fd00::1]"]),
    (Dialect::NetHttp, "*", &[], &["a"]),
    (Dialect::Java, "", &["a"], &[]),
];

#[test]
fn the_others_do_what_their_sources_say() {
    for (dialect, list, direct, proxied) in READ {
        for host in *direct {
            assert!(!dialect.way(&target(host), list).is_proxy(), "{dialect}: {host} with {list}");
        }
        for host in *proxied {
            assert_eq!(dialect.way(&target(host), list), Verdict::Proxy, "{dialect}: {host} with {list}");
        }
    }
}

#[test]
fn explains_by_which_member() {
    let list = "svc,10.96.0.0/12";
    let told: Vec<String> = explain(&target("10.96.0.1"), list)
        .iter()
        .map(|(dialect, way)| format!("{dialect}: {way}"))
        .collect();
    assert_eq!(
        told,
        [
            "curl before 7.86: through the proxy",
            "curl 7.86 to 8.17: direct, by 10.96.0.0/12",
            "curl from 8.18: direct, by 10.96.0.0/12",
            "wget: through the proxy",
            "Go: direct, by 10.96.0.0/12",
            "requests before 2.34: direct, by 10.96.0.0/12",
            "requests from 2.34: direct, by 10.96.0.0/12",
            "Python urllib: through the proxy",
            "Ruby Net::HTTP: direct, by 10.96.0.0/12",
            "Ruby open-uri: direct, by 10.96.0.0/12",
            "Java: direct, as the variables are not read",
        ]
    );
    assert_eq!(Verdict::Loopback.to_string(), "direct, as it is the machine itself");
}

#[test]
fn targets_are_hosts() {
    for (text, host, port) in [
        ("foo.bar.", "foo.bar.", None),
        ("foo:80", "foo", Some(80)),
        ("10.0.0.1:80", "10.0.0.1", Some(80)),
        ("fd00::1", "fd00::1", None),
        ("[fd00::1]", "fd00::1", None),
        ("[fd00::1]:80", "fd00::1", Some(80)),
        ("https://foo:6443/healthz", "foo", Some(6443)),
        ("HTTPS://me:pw@foo?a=b:c@d", "foo", None),
        ("http://[fd00::1]#a/b", "fd00::1", None),
    ] {
        let target = target(text);
        assert_eq!((&*target.host, target.port), (host, port), "{text}");
    }
    for text in [
        "",
        "a b",
        "a/b",
        "ftp://a",
        "://a",
        "https://",
        "https:///a",
        "https://fd00::g",
        "https://a:/",
        "me@a",
        "a:0",
        "a:+1",
        "fd00:::80",
        "a:x",
        "[a]",
        "[10.0.0.1]",
        "fd00::g",
        "10.0.0.0/8",
    ] {
        assert_eq!(text.parse::<Target>(), Err(NotAHost), "{text}");
    }
}

#[test]
fn targets_are_shown_as_urls_without_what_is_secret() {
    for (text, shown) in [
        ("Foo.bar.:80", "https://Foo.bar.:80"),
        ("http://me:pw@foo/token", "http://foo"),
        ("::1", "https://[::1]"),
    ] {
        assert_eq!(target(text).to_string(), shown);
        assert_eq!(target(shown), target(text));
    }
}

/// Where only one proxy is set, most programs have none for the other scheme.
#[test]
fn a_proxy_is_for_its_scheme() {
    let config = Config::parse("proxy: {http: 'http://p'}").unwrap();
    for dialect in Dialect::ALL {
        let route = |text| dialect.route(&target(text), &config, "a");
        let (http, https) = match dialect {
            Dialect::Java => (Verdict::Unread, Verdict::Unread),
            Dialect::NetHttp => (Verdict::Proxy, Verdict::Proxy),
            _ => (Verdict::Proxy, Verdict::NoProxy),
        };
        assert_eq!((route("http://b"), route("https://b"), route("b")), (http, https, https), "{dialect}");
    }
}

proptest! {
    #[test]
    fn no_list_and_no_host_panics(list in "[a.:*/1\\[\\], é]{0,20}", host in "[a.:1é\\[\\]]{1,12}") {
        if let Ok(target) = host.parse::<Target>() {
            for (dialect, verdict) in explain(&target, &list) {
                if let Verdict::Member(member) = verdict {
                    prop_assert!(list.contains(member) && !member.is_empty(), "{}", dialect);
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_listed_is_direct(name in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}\\.?", others in "[a-z,.]{0,12}") {
        let list = format!("{others},{name},{others}");
        for (dialect, verdict) in explain(&target(&name), &list) {
            prop_assert!(!verdict.is_proxy(), "{}: {} with {}", dialect, name, list);
        }
    }
}
