//! How it is called, and what it says where it can't.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

fn explain(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"))
        .args(["no-proxy", "explain"])
        .args(args)
        .env_remove("ASP_WEBHOOK_EGRESS_CONFIG")
        .output()
        .unwrap()
}

fn seed() -> String {
    testkit::testdata("egress/seed/config.yaml").display().to_string()
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn hosts_stand_before_and_after_the_file() {
    let file = seed();
    let expected = printed(&explain(&["a.svc", "10.96.0.1:6443", "--config", &file]));
    for args in [
        &["--config", &file, "a.svc", "10.96.0.1:6443"][..],
        &["a.svc", "--egress-config", &file, "10.96.0.1:6443"],
        &["https://me:secret@a.svc/healthz", &format!("--config={file}"), "--", "https://10.96.0.1:6443"],
    ] {
        assert_eq!(printed(&explain(args)), expected, "{args:?}");
    }
    let by_environment = Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"))
        .args(["no-proxy", "explain", "a.svc", "10.96.0.1:6443"])
        .env("ASP_WEBHOOK_EGRESS_CONFIG", &file)
        .output()
        .unwrap();
    assert_eq!(printed(&by_environment), expected, "as in the webhook's own container");
    let no_proxy = fs::read_to_string(testkit::testdata("egress/seed/no-proxy.txt")).unwrap();
    let head = format!(
        "NO_PROXY  {no_proxy}http      http://***@192.168.52.220:3128\nhttps     http://***@192.168.52.220:3128\n"
    );
    assert!(expected.starts_with(&head), "{expected}");
    assert!(
        expected.contains("\nhttps://a.svc: direct\n")
            && expected.contains("\nhttps://10.96.0.1:6443: through")
    );
}

#[test]
fn programs_get_json() {
    let report: Value = serde_json::from_str(&printed(&explain(&[
        "http://[::1]:80/",
        "--config",
        &seed(),
        "--output",
        "json",
    ])))
    .unwrap();
    let host = &report["hosts"][0];
    assert_eq!((&host["host"], &host["port"], &host["scheme"]), (&"::1".into(), &80.into(), &"http".into()));
    assert_eq!(report["proxies"]["http"], "http://***@192.168.52.220:3128");
    let go = host["programs"].as_array().unwrap().iter().find(|program| program["id"] == "go").unwrap();
    let expected =
        serde_json::json!({"id": "go", "name": "Go", "proxied": false, "reason": "loopback", "member": null});
    assert_eq!(go, &expected);
}

#[test]
fn mistakes_and_files_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let good = seed();
    let broken = file("broken", b"proxy:\n  http: http://me:hunter2@p\ncluster:\n  podCIDRs: hunter\n");
    let binary = file("binary", b"\xff\xfe");
    let huge = file("huge", &vec![b'a'; 10 << 20]);
    let pipe = folder.path().join("pipe").display().to_string();
    testkit::process::sh(&format!("mkfifo {pipe}"));
    for (args, code, words) in [
        (&["--config", &good][..], 2, "no host is given; usage: "),
        (&["a"], 2, "\"--egress-config\" not set; it can also be set by ASP_WEBHOOK_EGRESS_CONFIG"),
        (&["a b", "--config", &good], 2, "\"a b\" is not a host; give a name or an address"),
        (&["10.0.0.0/8", "--config", &good], 2, "\"10.0.0.0/8\" is not a host; "),
        (&["https://me:hunter2@/", "--config", &good], 2, "\"https://***@/\" is not a host; "),
        (&["", "--config", &good], 2, "\"\" is not a host; "),
        (
            &["a", "--config", &good, "--output=yaml"],
            2,
            "\"yaml\" for \"--output\" flag: accepted are text, json",
        ),
        (&["a", "--config", &good, "--outpt=json"], 2, "unknown flag: --outpt, did you mean --output?"),
        (
            &["a", "--config", &broken],
            1,
            "broken: line 4, column 13: cluster.podCIDRs: \"hunter\" is not a CIDR",
        ),
        (&["a", "--config", &binary], 1, "binary: line 1, column 1: not a text in UTF-8"),
        (&["a", "--config", &huge], 1, "huge: not a regular file of 1048576 bytes at most"),
        (&["a", "--config", &pipe], 1, "pipe: not a regular file"),
        (&["a", "--config", "/nowhere"], 1, "cannot read /nowhere: No such file"),
    ] {
        let output = explain(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(
            error.starts_with("Error: ") && error.lines().count() == 1 && output.stdout.is_empty(),
            "{error}"
        );
        assert!(error.contains(words) && !error.contains("hunter2"), "{args:?}: {error}");
    }
}
