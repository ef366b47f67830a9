//! The fake's faults, and what else only a fake can.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{
    cluster::Cluster,
    https::{self, Answer, Connection},
};

use crate::{SECRETS, secret};

#[test]
fn an_outage_cuts_and_refuses() {
    let cluster = Cluster::fake();
    let trust = https::client(cluster.ca());
    let mut watch = cluster.watch("admin", &format!("{SECRETS}?watch=1"));
    let mut idle = Connection::open(&trust, cluster.address()).unwrap();
    for _ in 0..3 {
        cluster.faults().outage(true);
        assert_eq!(watch.next(), None);
        idle.finish().unwrap_err();
        let refused = Connection::open(&trust, cluster.address()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        cluster.faults().outage(false);
        assert_eq!(cluster.request("GET", SECRETS, None).0, 200);
    }
}

#[test]
fn the_next_requests_of_one_fail() {
    let cluster = Cluster::fake();
    cluster.allow("webhook", &["get", "list"], "", "secrets", &[]);
    let faults = cluster.faults();
    for code in [500, 503] {
        faults.fail("webhook", SECRETS, 2, code);
        let ask = |user: &str| cluster.request_as(user, "GET", SECRETS, None);
        assert_eq!(ask("admin").0, 200);
        for _ in 0..2 {
            let (status, body) = ask("webhook");
            assert_eq!((status, &body["code"]), (code, &json!(code)));
        }
        assert_eq!(ask("webhook").0, 200);
    }
    assert_eq!(faults.count("webhook", "list", SECRETS), 6);
    assert_eq!(faults.writes("webhook"), 0);
    let before = faults.seen().len();
    let _ = cluster.request_as("stranger", "POST", SECRETS, Some(&secret("a", "1")));
    assert_eq!((faults.writes("stranger"), faults.seen().len()), (1, before + 1));
}

/// Asks as the administrator, with headers of the test's own.
fn ask(cluster: &Cluster, line: &str, headers: &str, body: &str) -> Answer {
    let mut connection = Connection::open(&https::client(cluster.ca()), cluster.address()).unwrap();
    let length = body.len();
    let token = testkit::cluster::token("admin");
    let ours = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n");
    connection.send(format!("{line} HTTP/1.1\r\n{ours}{headers}\r\n{body}").as_bytes()).unwrap();
    connection.finish().unwrap()
}

#[test]
fn too_many_requests() {
    let cluster = Cluster::fake();
    cluster.faults().fail("admin", SECRETS, 1, 429);
    let answer = ask(&cluster, &format!("GET {SECRETS}"), "", "");
    assert!(answer.status == 429 && answer.headers.contains("retry-after: 1\r\n"), "{}", answer.headers);
    assert_eq!(answer.body, b"Too many requests, please try again later.\n");
}

#[test]
fn patches_of_other_types() {
    let cluster = Cluster::fake();
    cluster.create(SECRETS, &secret("a", "1"));
    for (media, status) in [
        ("application/json", 415),
        ("application/merge-patch+json", 200),
        ("application/strategic-merge-patch+json", 501),
        ("application/apply-patch+yaml", 501),
    ] {
        let headers = format!("Content-Type: {media}\r\n");
        assert_eq!(ask(&cluster, &format!("PATCH {SECRETS}/a"), &headers, "{}").status, status, "{media}");
    }
}

#[test]
fn watches_are_cut() {
    let cluster = Cluster::fake();
    let mut watch = cluster.watch("admin", &format!("{SECRETS}?watch=1"));
    cluster.faults().cut_watches();
    assert_eq!(watch.next(), None);
    assert_eq!(cluster.request("GET", SECRETS, None).0, 200);
}

#[test]
fn requests_are_delayed() {
    let cluster = Cluster::fake();
    let (begin, delay) = (Instant::now(), Duration::from_millis(200));
    cluster.faults().delay(delay);
    let _ = cluster.get(SECRETS);
    assert!(begin.elapsed() >= delay);
}

#[test]
fn what_the_fake_can_not_do_it_says() {
    let cluster = Cluster::fake();
    for query in [
        "labelSelector=a+in+%28b%29",
        "labelSelector=a",
        "labelSelector=c%3Dd,a%21%3Db",
        "dryRun=All",
        "fieldSelector=type%3DOpaque",
        "resourceVersionMatch=Exact",
    ] {
        let (status, body) = cluster.request("GET", &format!("{SECRETS}?{query}"), None);
        assert_eq!(status, 501, "{query}");
        assert!(body["message"].as_str().unwrap().starts_with("the fake API server knows no "), "{body}");
    }
    cluster.create(SECRETS, &secret("a", "1"));
    let options = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(cluster.request("DELETE", &format!("{SECRETS}/a"), Some(&options)).0, 501);
}

#[test]
fn a_kubeconfig_works_over_both_versions_of_http() {
    let cluster = Cluster::fake();
    let config = std::fs::read_to_string(cluster.kubeconfig("webhook")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let (to, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let url = format!("{}{SECRETS}", to["server"].as_str().unwrap());
    let authorization = format!("Authorization: Bearer {}", user["token"].as_str().unwrap());
    for flag in ["--http1.1", "--http2"] {
        let ca = to["certificate-authority"].as_str().unwrap();
        let answer = std::process::Command::new("curl")
            .args(["--silent", "--show-error", flag, "--cacert", ca, "-H", &authorization, &url])
            .output()
            .unwrap();
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(answer.contains("User \\\"webhook\\\" cannot list resource"), "{flag}: {answer}");
    }
}
