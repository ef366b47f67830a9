//! The corporate proxy, from a file that changes while the webhook serves.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{eventually, process::Running};

use crate::fixture::{Serving, project, serve, webhook};

const SECRET: &str = "mySuperSecretPassword";

fn seed() -> String {
    fs::read_to_string(testkit::testdata("egress/seed/config.yaml")).unwrap()
}

/// A folder with the file in it, as kubelet mounts a Secret, and the flag that names it.
fn mounted(config: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), 0, config);
    let flag = format!("--egress-config={}/egress.yaml", folder.path().display());
    (folder, flag)
}

fn replace(folder: &Path, generation: u32, config: &str) {
    project(folder, generation, |fresh| fs::write(fresh.join("egress.yaml"), config).unwrap());
}

/// What a container of the seed's Pod gets: names and values.
fn injected(serving: &Serving) -> Vec<(String, String)> {
    let answer: Value = serde_json::from_str(&serving.post_seed(&[]).body).unwrap();
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    let entries = patch[0]["value"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.map(|entry| (text(&entry["name"]), text(&entry["value"]))).collect()
}

fn value(serving: &Serving, name: &str) -> Option<String> {
    injected(serving).into_iter().find(|(there, _)| there == name).map(|(_, value)| value)
}

#[test]
fn the_seeds_values_reach_the_pod() {
    let (_folder, flag) = mounted(&seed());
    let serving = serve(&[&flag]);
    let proxy = format!("http://myProxyUser:{SECRET}@192.168.52.220:3128");
    let list = fs::read_to_string(testkit::testdata("egress/seed/no-proxy.txt")).unwrap();
    let expected = [
        ("KUBERNETES_SERVICE_HOST", "foo.bar."),
        ("HTTP_PROXY", &proxy),
        ("http_proxy", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("https_proxy", &proxy),
        ("NO_PROXY", list.trim_end()),
        ("no_proxy", list.trim_end()),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(injected(&serving), expected);
    let warning = serving.running.wait_for("NO_PROXY does not cover --apiserver-fqdn=foo.bar.");
    assert!(warning.contains("add foo.bar to cluster.apiServer in"), "{warning}");
}

#[test]
fn a_new_file_is_used_and_a_broken_one_is_not() {
    let (folder, flag) = mounted("proxy: {http: 'http://one:3128'}\ncluster: {apiServer: foo.bar}");
    let serving = serve(&[&flag]);
    let becomes = |expected: Option<&str>| {
        let seen = || value(&serving, "HTTP_PROXY");
        eventually(
            || format!("{expected:?}, not {:?}", seen()),
            || (seen().as_deref() == expected).then_some(()),
        );
    };
    becomes(Some("http://one:3128"));
    assert!(serving.health("/readyz?verbose").body.contains("[+]egress-config ok: http by http://one:3128"));

    replace(folder.path(), 1, "proxy: {https: 'http://me:pw@two:3128'}");
    becomes(None);
    assert_eq!(value(&serving, "https_proxy").as_deref(), Some("http://me:pw@two:3128"));
    serving
        .running
        .wait_for("egress configuration replaced: no proxy for http, https by http://***@two:3128");

    replace(folder.path(), 2, "proxy:\n  https: http://me:hunter2@two:0\n");
    let told = "line 2, column 10: proxy.https: not a proxy's URL; the port must be a number from 1 to 65535";
    let line = serving.running.wait_for("egress configuration: not replaced, the last good one stays in use");
    assert!(line.ends_with(told), "{line}");
    assert_eq!(value(&serving, "https_proxy").as_deref(), Some("http://me:pw@two:3128"));
    let ready = serving.health("/readyz?verbose");
    assert_eq!(ready.status, 200);
    assert!(
        ready.body.contains("[!]egress-config: no proxy for http") && ready.body.contains(told),
        "{}",
        ready.body
    );
    assert_eq!(serving.health("/readyz").status, 200);

    fs::remove_file(folder.path().join("egress.yaml")).unwrap();
    serving.running.wait_for("cannot read");
    replace(folder.path(), 3, "proxy: {http: 'http://four:3128'}");
    becomes(Some("http://four:3128"));
    serving.running.wait_for("egress configuration: all is well again");
    let metrics = serving.health("/metrics").body;
    for line in [r#"{result="success"} 2"#, r#"{result="failure"} 2"#] {
        assert!(metrics.contains(&format!("egress_config_reload_total{line}\n")), "{metrics}");
    }
}

#[test]
fn the_password_is_in_the_patch_and_nowhere_else() {
    let (folder, flag) = mounted(&seed());
    let serving = serve(&["-v=9", &flag, "--shutdown-delay=0"]);
    assert!(value(&serving, "http_proxy").unwrap().contains(SECRET));
    // Broken in ways that tempt to quote what is there.
    for (generation, broken) in [
        seed().replace("  https: ", "  https: x"),
        seed().replace("@192.168.52.220:3128", "@192.168.52.220:port"),
        seed().replace("http: http", "http http"),
        seed().replace("  http: ", "  http: \""),
        seed().replace("http://", "ftp://"),
        seed().replace("noProxy: ", "noProxy: http://me:mySuperSecretPassword@x,"),
    ]
    .into_iter()
    .enumerate()
    {
        replace(folder.path(), 2 * generation as u32 + 1, &broken);
        let pages = ["/readyz?verbose", "/livez?verbose", "/metrics", "/statusz", "/flagz"];
        let told = eventually(
            || format!("a problem with\n{broken}"),
            || {
                let served: String = pages.iter().map(|page| serving.health(page).body).collect();
                served.contains("[!]egress-config").then_some(served)
            },
        );
        assert!(!told.contains(SECRET) && !told.contains("myProxyUser"), "{told}");
        assert!(told.contains("Egress"), "{told}");
        replace(folder.path(), 2 * generation as u32 + 2, &seed());
        eventually(
            || "all to be well".to_owned(),
            || serving.health("/readyz?verbose").body.contains("[+]egress-config ok").then_some(()),
        );
    }
    let (status, log) = serving.running.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("pod patched") && !log.contains(SECRET) && !log.contains("myProxyUser"), "{log}");
}

#[test]
fn a_broken_file_ends_the_start() {
    for (config, told) in [
        (
            "proxy:\n  http: http://me:hunter2@p:0",
            "line 2, column 9: proxy.http: not a proxy's URL; the port",
        ),
        ("proxy: {}", "line 1, column 8: proxy: no proxy is named"),
        ("proxie: {}", "line 1, column 1: unknown key \"proxie\""),
    ] {
        let (_folder, flag) = mounted(config);
        let (status, log) = Running::start(webhook().arg(&flag)).wait();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("--egress-config cannot be used: ") && log.contains(told), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
    let (status, log) = Running::start(webhook().arg("--egress-config=/nowhere/egress.yaml")).wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("cannot read /nowhere/egress.yaml: No such file"), "{log}");
}
