//! HTTP, as curl speaks it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::fixture::{Curled, PATH, serve};

const JSON: &str = "Content-Type: application/json";

fn status_of(curled: &Curled) -> Value {
    let status: Value =
        serde_json::from_str(&curled.body).unwrap_or_else(|_| panic!("no Status: {curled:?}"));
    assert_eq!((&status["kind"], &status["apiVersion"]), (&json!("Status"), &json!("v1")));
    assert_eq!(status["code"], curled.status);
    status
}

#[test]
fn the_seeds_curl_gets_the_seeds_patch_over_both_versions_of_http() {
    let serving = serve(&[]);
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let curled = serving.post_seed(&[flag]);
        assert_eq!((curled.status, curled.version.as_str()), (200, version), "{}", curled.body);
        let answer: Value = serde_json::from_str(&curled.body).unwrap();
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let entry = json!([{"name": "KUBERNETES_SERVICE_HOST", "value": "foo.bar."}]);
        assert_eq!(
            serde_json::from_slice::<Value>(&patch).unwrap(),
            json!([
                {"op": "add", "path": "/spec/initContainers/0/env", "value": entry},
                {"op": "add", "path": "/spec/containers/0/env", "value": entry},
            ])
        );
    }
}

#[test]
fn content_types() {
    let serving = serve(&[]);
    for good in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        assert_eq!(serving.post_seed(&["-H", &format!("Content-Type: {good}")]).status, 200, "{good}");
    }
    for bad in ["text/plain", "application/json-patch+json", "application/yaml", ""] {
        let header = format!("Content-Type:{bad}");
        let curled = serving.curl(PATH, &["-H", &header, "-d", "{}"]);
        assert_eq!(curled.status, 415, "{bad}");
        assert!(status_of(&curled)["message"].as_str().unwrap().contains("send application/json"));
    }
}

#[test]
fn methods_and_paths() {
    let serving = serve(&[]);
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let curled = serving.curl(PATH, &["-X", method, "-i"]);
        assert_eq!(curled.status, 405, "{method}");
        assert!(curled.body.to_ascii_lowercase().contains("allow: post"), "{}", curled.body);
    }
    let curled = serving.curl("/webhook/other", &["-H", JSON, "-d", "{}"]);
    assert_eq!((curled.status, &status_of(&curled)["reason"]), (404, &json!("NotFound")));
}

#[test]
fn bodies_that_are_no_review_are_refused_with_the_reason() {
    let serving = serve(&[]);
    let review = |request: &str| {
        format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#)
    };
    let deep = format!(r#"{{"kind":"AdmissionReview","x":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    let cases = [
        (String::new(), "the body is empty"),
        (" \n".to_owned(), "the body is empty"),
        ("not json".to_owned(), "expected ident"),
        ("[]".to_owned(), "invalid type: sequence, expected an object"),
        (review(r#"["a"]"#), "invalid type: sequence, expected an object"),
        ("{}".to_owned(), "expected AdmissionReview"),
        (r#"{"kind":"Pod","apiVersion":"v1"}"#.to_owned(), r#"the body is kind "Pod" of apiVersion "v1""#),
        (review("{}").replace("v1", "v2"), "admission.k8s.io/v2"),
        (review("null"), "has no request"),
        (review("{}"), "has no uid"),
        (review(r#"{"uid":""}"#), "has no uid"),
        (review(r#"{"uid":7}"#), "invalid type: integer `7`"),
        (review(r#"{"uid":"a","uid":"b"}"#), "duplicate field `uid`"),
        (
            review(r#"{"uid":"a","object":{"spec":{"containers":[],"containers":[]}}}"#),
            r#"duplicate key "containers""#,
        ),
        (
            review(r#"{"uid":"a","object":{"spec":{"containers":[{"env":[{"name":"A","name":"B"}]}]}}}"#),
            r#"duplicate key "name""#,
        ),
        (
            review(
                r#"{"uid":"a","object":{"metadata":{"annotations":{"kubernetes.io/config.mirror":"a","kubernetes.io/config.mirror":"b"}}}}"#,
            ),
            "duplicate key",
        ),
        (review(r#"{"uid":"a"}"#) + "x", "trailing characters"),
        (review(r#"{"uid":"a"#), "EOF while parsing"),
        (deep, "nested deeper than 128"),
    ];
    for (body, reason) in cases {
        let curled = serving.curl(PATH, &["-H", JSON, "--data-binary", &body]);
        assert_eq!(curled.status, 400, "{body}");
        let message = status_of(&curled)["message"].as_str().unwrap().to_owned();
        assert!(message.contains(reason), "{body} gave: {message}");
    }
}

#[test]
fn a_body_that_is_not_utf_8_is_refused() {
    let serving = serve(&[]);
    let file = serving.folder.path().join("body");
    std::fs::write(&file, b"{\"kind\":\"\xff\"}").unwrap();
    let curled = serving.curl(PATH, &["-H", JSON, "--data-binary", &format!("@{}", file.display())]);
    assert_eq!(curled.status, 400);
    assert!(curled.body.contains("not UTF-8 from byte 9"), "{}", curled.body);
}

#[test]
fn probes() {
    let serving = serve(&[]);
    assert_eq!((serving.health("/livez").status, serving.health("/livez").body.as_str()), (200, "ok"));
    assert_eq!((serving.health("/readyz").status, serving.health("/readyz").body.as_str()), (200, "ok"));
    let verbose = serving.health("/readyz?verbose").body;
    assert!(
        verbose.contains("[+]serving ok") && verbose.contains("[+]certificate ok: serial 01"),
        "{verbose}"
    );
    assert_eq!(serving.health("/nothing").status, 404);
}

#[test]
fn pages_for_a_person_and_a_scraper() {
    let serving = serve(&["--shutdown-delay=90s"]);
    let metrics = serving.health("/metrics").body;
    assert!(metrics.contains("\napiserver_proxy_pod_webhook_build_info{version=\"v"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let statusz = serving.health("/statusz").body;
    assert!(statusz.starts_with("\napiserver-proxy-pod-webhook statusz\nWarning: "), "{statusz}");
    assert!(
        statusz.contains("\nUp: 0 hr 0") && statusz.contains("\nCertificate: serial 01 until "),
        "{statusz}"
    );
    let flagz = serving.health("/flagz").body;
    assert!(flagz.starts_with("\napiserver-proxy-pod-webhook flags\nWarning: "), "{flagz}");
    for flag in ["apiserver-fqdn=foo.bar.", "client-ca-name=", "port=0", "shutdown-delay=1m30s", "v=0"] {
        assert!(flagz.lines().any(|line| line == flag), "{flag} is missing in: {flagz}");
    }
}
