//! What checks say of endpoints of all kinds.

use std::time::Duration;

use proxy::{
    health::Check,
    protocol::{Protocol, connect::Connect},
};
use testkit::{eventually, netns::Netns, process::sh};

use crate::{
    proxy::{Proxy, checks, upstreams},
    servers::{Kind, serve},
};

#[test]
fn each_kind_of_check_of_each_kind_of_endpoint() {
    const WELL: [bool; 3] = [true; 3];
    let _netns = Netns::enter();
    for (kind, expected) in [
        (Kind::Https(200), WELL),
        (Kind::Https(204), WELL),
        (Kind::Https(401), WELL),
        (Kind::Https(403), [true, true, false]),
        (Kind::Https(500), [true, true, false]),
        (Kind::Slow(Duration::from_millis(50)), WELL),
        (Kind::Slow(Duration::from_secs(20)), [true, false, false]),
        (Kind::Silent, [true, false, false]),
        (Kind::Echo, [true, false, false]),
        (Kind::Resetting, [true, false, false]),
    ] {
        let server = serve("10.0.0.1:443", kind.clone());
        for (check, expected) in [Check::Tcp, Check::Tls, Check::Https].into_iter().zip(expected) {
            let proxy = Proxy::start(upstreams(&["10.0.0.1:443"]), Protocol::Tcp, checks(check));
            let what = format!("{kind:?} by {check:?}");
            if expected {
                // Long enough for two checks that fail.
                let before = server.ends().len();
                eventually(|| what.clone(), || (server.ends().len() >= before + 4).then_some(()));
                // Not at each moment: a reset may be quicker than the look at what came of the connect.
                proxy.wait_for("10.0.0.1:443");
            } else {
                proxy.wait_for("!10.0.0.1:443");
            }
        }
    }
}

#[test]
fn checks_end_their_connections_in_peace() {
    let _netns = Netns::enter();
    for check in [Check::Tcp, Check::Tls, Check::Https] {
        let server = serve("10.0.0.1:443", Kind::Https(200));
        let proxy = Proxy::start(upstreams(&["10.0.0.1:443"]), Protocol::Tcp, checks(check));
        eventually(|| format!("{check:?}: {:?}", server.ends()), || (server.ends().len() > 5).then_some(()));
        drop(proxy);
        // TLS that ends before it begins is an error to a server of TLS, and is nothing worse.
        let expected = if check == Check::Tcp { "UnexpectedEof" } else { "ended" };
        assert!(server.ends().iter().all(|end| end == expected), "{check:?}: {:?}", server.ends());
        let half = sh("ss -Htn state close-wait '( sport = :443 or dport = :443 )'");
        assert_eq!(half, "", "{check:?}");
    }
}

#[test]
fn checks_speak_the_upstreams_protocol() {
    let _netns = Netns::enter();
    let connect = || Connect { target: "kube-apiserver:443".parse().unwrap(), headers: Vec::new() };
    for (protocol, answers) in [
        (Protocol::ProxyV1, [("", true), ("", true)]),
        (Protocol::ProxyV2(Vec::new()), [("", true), ("", true)]),
        (
            Protocol::HttpConnect(connect()),
            [("HTTP/1.1 200 OK\r\n\r\n", true), ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", false)],
        ),
    ] {
        for (answer, expected) in answers {
            for check in [Check::Tcp, Check::Tls, Check::Https] {
                let kind = Kind::After(protocol.greeting(None), answer, Box::new(Kind::Https(200)));
                let server = serve("10.0.0.1:443", kind);
                let proxy = Proxy::start(upstreams(&["10.0.0.1:443"]), protocol.clone(), checks(check));
                if expected {
                    eventually(|| format!("{check:?}"), || (server.ends().len() >= 4).then_some(()));
                    assert_eq!(proxy.endpoints(), "10.0.0.1:443", "{protocol:?} {check:?}");
                } else {
                    proxy.wait_for("!10.0.0.1:443");
                }
                let ends = server.ends();
                assert!(!ends.iter().any(|end| end == "Other"), "another greeting came: {ends:?}");
            }
        }
    }
}

#[test]
fn an_endpoint_that_comes_back_is_used_again() {
    let _netns = Netns::enter();
    sh("ip addr add 10.0.0.1/32 dev lo");
    let proxy = Proxy::start(upstreams(&["10.0.0.1:443"]), Protocol::Tcp, checks(Check::Tls));
    for _ in 0..3 {
        proxy.wait_for("!10.0.0.1:443");
        let server = serve("10.0.0.1:443", Kind::Https(200));
        proxy.wait_for("10.0.0.1:443");
        server.kill();
    }
}
