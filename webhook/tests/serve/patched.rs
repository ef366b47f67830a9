//! The line a patched Pod, and what is never in the log.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::{
    https::{self, Connection},
    pki::Authority,
    process::Running,
};

use crate::fixture::{PATH, Serving, serve, webhook};

/// A Pod with two containers; with `change` applied to its review.
fn review(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE", "namespace": "shop",
            "object": {
                "metadata": {
                    "generateName": "web-5d4-",
                    "ownerReferences": [
                        {"kind": "Config", "name": "x"},
                        {"kind": "ReplicaSet", "name": "web-5d4", "controller": true},
                    ],
                },
                "spec": {
                    "containers": [{"name": "app"}, {"name": "log"}],
                    "initContainers": [{"name": "init"}],
                },
            },
        },
    });
    change(&mut review["request"]);
    serde_json::to_vec(&review).unwrap()
}

fn connect(serving: &Serving) -> Connection {
    Connection::open(&https::client(serving.authority.pem()), serving.address).unwrap()
}

fn post(serving: &Serving, body: &[u8]) {
    assert_eq!(connect(serving).post(PATH, body).unwrap().status, 200);
}

/// All of the log; stops the program.
fn log_of(serving: Serving) -> String {
    let (status, log) = serving.running.stop();
    assert!(status.success(), "{log}");
    log
}

#[test]
fn a_patched_pod_is_told() {
    let serving = serve(&["-v=2", "--shutdown-delay=0s"]);
    post(&serving, &review(|_| {}));
    post(&serving, &review(|request| request["object"]["metadata"] = json!({"name": "alone"})));
    post(&serving, &review(|request| request["object"]["spec"] = json!({"containers": []})));
    let log = log_of(serving);
    let lines: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("] pod patched ")).map(|(_, it)| it).collect();
    assert_eq!(
        lines,
        [
            "namespace=shop generate_name=web-5d4- owner=ReplicaSet/web-5d4 containers=init,app,log",
            "namespace=shop name=alone containers=init,app,log",
        ],
        "{log}"
    );
}

fn serve_json() -> Serving {
    let (authority, folder) = (Authority::new("test CA"), tempfile::tempdir().unwrap());
    authority.issue(1).write(folder.path());
    let mut command = webhook();
    command.args(["-v=2", "--log-format=json"]).arg("--cert-dir").arg(folder.path());
    let running = Running::start(&mut command);
    let line: Value = serde_json::from_str(&running.wait_for("\"serving\"")).unwrap();
    let address = |key: &str| line[key].as_str().unwrap().parse().unwrap();
    Serving { address: address("address"), health: address("health"), running, authority, folder }
}

#[test]
fn it_is_json_where_the_log_is() {
    let serving = serve(&["-v=2", "--shutdown-delay=0s"]);
    let json = serve_json();
    for serving in [&serving, &json] {
        post(serving, &review(|request| request["namespace"] = json!("a\"b\n{}")));
    }
    let line = json.running.wait_for("pod patched");
    let line: Value = serde_json::from_str(&line).unwrap();
    for (key, value) in [
        ("level", "DEBUG"),
        ("message", "pod patched"),
        ("namespace", r#"a"b\n{}"#),
        ("generate_name", "web-5d4-"),
        ("owner", "ReplicaSet/web-5d4"),
        ("containers", "init,app,log"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(line.get("name"), None, "{line}");
    let text = serving.running.wait_for("pod patched");
    assert!(text.contains(r#" namespace="a\"b\\n{}" generate_name="#), "{text}");
}

#[test]
fn nobody_is_told_at_the_default_level() {
    let serving = serve(&["--shutdown-delay=0s"]);
    post(&serving, &review(|_| {}));
    let log = log_of(serving);
    assert!(!log.contains("patched") && !log.contains("web-5d4"), "{log}");
}

#[test]
fn names_from_outside_cannot_fill_or_forge_the_log() {
    let serving = serve(&["-v=2", "--shutdown-delay=0s"]);
    let long = "x".repeat(1_000_000);
    post(
        &serving,
        &review(|request| {
            request["namespace"] = json!(long);
            request["object"]["metadata"] =
                json!({"name": "\nE1120 00:00:00.000000 1 a.rs:1] forged\u{1b}[2J\u{202e}"});
            let containers: Vec<Value> = (0..5000).map(|_| json!({"name": long[..100]})).collect();
            request["object"]["spec"]["containers"] = containers.into();
        }),
    );
    let log = log_of(serving);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("forged")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("] pod patched ") && lines[0].len() < 2000, "{lines:?}");
    assert!(lines[0].is_ascii() && !lines[0].contains('\u{1b}') && lines[0].ends_with(",+4991"), "{lines:?}");
}

/// Whatever comes of a review, and wherever the value stands.
#[test]
fn no_value_of_an_environment_is_ever_in_the_log() {
    const MARKER: &str = "hunter2-marker";
    let entry = json!({"name": "PASSWORD", "value": MARKER});
    let envs = [
        json!([entry]),
        json!([entry, {"name": "KUBERNETES_SERVICE_HOST", "value": MARKER}]),
        json!([entry, MARKER]),
        json!([entry, null]),
        json!([entry, {"name": [MARKER]}]),
        json!([{"name": "A", "valueFrom": MARKER}, {"name": {"x": MARKER}}]),
        json!({"PASSWORD": MARKER}),
        json!(MARKER),
    ];
    let operations = ["CREATE", "UPDATE", "DELETE", "CONNECT", "PATCH"];
    let mut bodies = Vec::new();
    for env in &envs {
        for operation in operations {
            bodies.push(review(|request| {
                request["operation"] = json!(operation);
                request["object"]["spec"]["containers"][0]["env"] = env.clone();
                request["oldObject"] = request["object"].clone();
            }));
        }
        let debugging = review(|request| {
            request["operation"] = json!("UPDATE");
            request["subResource"] = json!("ephemeralcontainers");
            request["oldObject"] = request["object"].clone();
            request["object"]["spec"]["ephemeralContainers"] = json!([{"name": "debug", "env": env}]);
        });
        bodies.push(debugging);
        bodies.push(review(|request| request["kind"] = json!({"kind": "Deployment", "x": env})));
        let whole = review(|request| request["object"]["spec"]["containers"][0]["env"] = env.clone());
        let text = String::from_utf8(whole.clone()).unwrap();
        let cut = text.find(MARKER).unwrap() + MARKER.len();
        bodies.extend([1, 3, 5].map(|more| whole[..cut + more].to_vec()));
        bodies.push(text.replace("\"env\":", "\"env\":[],\"env\":").into_bytes());
        bodies.push(text.replace(MARKER, &format!("{MARKER}\\x")).into_bytes());
        bodies.push(text.replace(&format!("\"{MARKER}\""), MARKER).into_bytes());
        bodies.push(text.replace("AdmissionReview", "Other").into_bytes());
        bodies.push([whole.as_slice(), b"\xff"].concat());
    }
    let serving = serve(&["-v=9", "--shutdown-delay=0s"]);
    let mut connection = connect(&serving);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for body in &bodies {
        let answer = connection.post(PATH, body).unwrap();
        *statuses.entry(answer.status).or_default() += 1;
        // The log has one refusal a second, in the words of the answer: so look at all answers, too.
        let answer = String::from_utf8(answer.body).unwrap();
        assert!(!answer.contains(MARKER), "{answer}");
    }
    assert!(statuses[&200] > 30 && statuses[&400] > 20 && statuses.len() == 2, "{statuses:?}");
    let log = log_of(serving);
    assert!(log.contains("pod patched") && log.contains("request refused"), "{log}");
    assert!(!log.contains(MARKER), "{log}");
}
