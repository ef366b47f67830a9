//! When it is ready, and when it accepts: an update with a mistake in it has to end where it begins.

use nix::sys::signal::Signal;
use testkit::{
    eventually,
    process::{Running, sh},
};

use crate::fixture::{Client, binary, page, proxy, scene, start};

const NONE: &str = "no endpoint has answered yet";

/// The state of readiness, and the line about the endpoints.
fn ready(probe_socket: &str) -> (Option<i32>, String) {
    let (status, printed) =
        Running::start(binary().args(["probe", "ready", "--probe-socket", probe_socket])).wait();
    (status.code(), printed)
}

#[test]
fn an_answer_makes_it_ready_and_nothing_unready() {
    let _netns = scene();
    let nobody = || {
        sh("nft 'add table ip t; add chain ip t in { type filter hook input priority 0; }; \
            add rule ip t in tcp dport 6443 reject with tcp reset'")
    };
    nobody();
    let running = start(&["--upstream=127.0.0.1:6443", "--health-interval=1s"]);
    // It does what it can.
    assert!(Client::connect().has_ended());
    let told = running.wait_for(&format!("not ready: {NONE}"));
    assert!(told.contains("known=1"), "{told}");
    let (status, text) = page("/readyz?verbose");
    let line = format!("[-]endpoints failed: {NONE}, of 127.0.0.1:6443");
    assert!(status == 503 && text.contains("[+]listening ok") && text.contains(&line), "{text}");

    sh("nft delete table ip t");
    running.wait_for("an endpoint has answered: ready from now on");
    eventually(|| page("/readyz?verbose").1, || (page("/readyz").0 == 200).then_some(()));
    assert_eq!(Client::greeted().1, "one");

    nobody();
    let failed = || {
        let (status, text) = page("/readyz?verbose");
        assert_eq!(status, 200, "{text}");
        text.contains("[!]endpoints: 0 of 1 healthy; not 127.0.0.1:6443").then_some(())
    };
    eventually(|| page("/readyz?verbose").1, failed);
    assert_eq!(running.stop().1.matches(NONE).count(), 1, "once");
}

#[test]
fn a_connection_that_is_answered_is_enough() {
    let _netns = scene();
    // It answers, and says nothing that a check would like.
    let running = start(&["--upstream=127.0.0.1:6443", "--health-check=tls"]);
    assert_eq!(Client::greeted().1, "one");
    assert_eq!(page("/readyz").0, 200);
    assert!(!running.printed().contains(NONE));
}

/// As in a rolling update with `--upstream` misspelt.
#[test]
fn while_none_answers_the_older_one_carries_on() {
    let _netns = scene();
    let older = start(&["--upstream=127.0.0.1:6443"]);
    let newer = Running::start(&mut proxy(&[
        "--upstream=127.0.0.9:6443",
        "--health-interval=1s",
        "--probe-socket=@mistaken",
    ]));
    newer.wait_for(&format!("not ready: {NONE}"));
    let (code, text) = ready("@mistaken");
    assert_eq!(code, Some(1), "{text}");
    for line in
        ["[-]listening failed: not accepting yet on 10.96.0.2:443", &format!("[-]endpoints failed: {NONE}")]
    {
        assert!(text.contains(line), "{text}");
    }
    for _ in 0..100 {
        assert_eq!(Client::greeted().1, "one");
    }

    // The mistake is taken back: one that is right comes, has the socket too, and the others go.
    let third = start(&["--upstream=127.0.0.1:6443", "--probe-socket=@right"]);
    assert!(third.wait_for("listening address").contains("taken_over=true"));
    assert_eq!(ready("@right").0, Some(0));
    let (status, printed) = newer.stop();
    assert!(status.success() && printed.contains("stopping before the start"), "{printed}");
    assert!(older.stop().0.success());
    for _ in 0..20 {
        assert_eq!(Client::greeted().1, "one");
    }
}

#[test]
fn when_the_older_one_goes_it_accepts_whatever_comes_of_it() {
    let _netns = scene();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let older = start(&["--upstream=127.0.0.1:6443", "--drain-timeout=1h"]);
        let (mut open, _) = Client::greeted();
        let newer = Running::start(&mut proxy(&["--upstream=127.0.0.9:6443"]));
        newer.wait_for("endpoint failed: its checks did");
        assert!(!newer.printed().contains("accepting connections"));
        older.signal(signal);
        newer.wait_for(&format!(
            "the older instance has stopped, and {NONE}; accepting connections nevertheless"
        ));
        newer.wait_for("accepting connections endpoints=");
        // An end is better than to be left waiting.
        assert!(Client::connect().has_ended());
        if signal == Signal::SIGTERM {
            open.echoes("still here").unwrap();
        }
        drop(open);
        older.wait();
        newer.stop();
    }
}
