//! Starts that must fail, and say why in one line.

use std::{net::TcpListener, path::Path, process::Command};

use testkit::{pki::Authority, process::Running};

use crate::fixture::webhook;

#[track_caller]
fn fails_with(command: &mut Command, words: &[&str]) {
    let (status, printed) = Running::start(command).wait();
    assert_eq!(status.code(), Some(1), "{printed}");
    let errors: Vec<&str> = printed.lines().filter(|line| line.starts_with('E')).collect();
    assert_eq!(errors.len(), 1, "one clear line: {printed}");
    for word in words {
        assert!(errors[0].contains(word), "no {word:?} in: {}", errors[0]);
    }
    assert!(!printed.contains("] serving"), "{printed}");
}

fn with_files(prepare: impl FnOnce(&Path)) -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("test CA").issue(1).write(folder.path());
    prepare(folder.path());
    let mut command = webhook();
    command.arg("--cert-dir").arg(folder.path());
    (folder, command)
}

#[test]
fn files_that_cannot_be_used() {
    let remove = |name: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap();
    let write = |name: &'static str, text: String| {
        move |folder: &Path| std::fs::write(folder.join(name), text).unwrap()
    };
    let (_folder, mut command) = with_files(remove("tls.crt"));
    fails_with(&mut command, &["cannot read", "tls.crt", "No such file"]);
    let (_folder, mut command) = with_files(remove("tls.key"));
    fails_with(&mut command, &["cannot read", "tls.key", "No such file"]);
    let (_folder, mut command) = with_files(write("tls.key", Authority::new("other").issue(1).key));
    fails_with(&mut command, &["tls.crt", "tls.key", "does not belong to"]);
    let (_folder, mut command) = with_files(write("tls.crt", "nonsense".to_owned()));
    fails_with(&mut command, &["tls.crt", "holds no certificate"]);
    let (_folder, mut command) = with_files(write("tls.key", String::new()));
    fails_with(&mut command, &["private key is not PEM"]);
    let in_one_line = Authority::new("other").issue(1).key.replace('\n', " ");
    let (_folder, mut command) = with_files(write("tls.key", in_one_line));
    // And no more than that: not what was there instead.
    fails_with(&mut command, &["private key is not PEM"]);
    assert!(Running::start(&mut command).wait().1.lines().all(|line| line.len() < 300));
    let (_folder, mut command) = with_files(|_| {});
    fails_with(command.arg("--client-ca-name=ca.crt"), &["cannot read", "ca.crt"]);
    let (_folder, mut command) = with_files(write("ca.crt", "nonsense".to_owned()));
    fails_with(
        command.arg("--client-ca-name=ca.crt"),
        &["ca.crt", "client CA is not PEM, or holds no certificate"],
    );
    fails_with(webhook().arg("--cert-dir=/nowhere"), &["cannot read /nowhere/tls.crt"]);
}

#[test]
fn ports_in_use_and_hosts_that_are_not_ours() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = format!("--port={}", address.port());
    fails_with(
        webhook().args(["--host=127.0.0.1", &port]),
        &["cannot listen on", &address.port().to_string(), "in use"],
    );
    fails_with(
        webhook().arg(format!("--health-bind-address={address}")),
        &["--health-bind-address", "in use"],
    );
    fails_with(webhook().arg("--host=192.0.2.1"), &["cannot listen on 192.0.2.1:0", "--host"]);
}

#[test]
fn mistakes_on_the_command_line() {
    for args in [&["--apiserver-fqdn=localhost"][..], &["--port=70000"], &["--bogus"]] {
        let output = webhook().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(printed.starts_with("Error: ") && printed.lines().count() == 1, "{printed}");
    }
}

#[test]
fn help_reads_like_the_go_webhooks() {
    let printed = String::from_utf8(webhook().arg("--help").output().unwrap().stdout).unwrap();
    let ours: Vec<String> =
        printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let seed = std::fs::read_to_string(testkit::testdata("webhook/seed-help.txt")).unwrap();
    assert_eq!(seed.lines().count(), 7);
    for line in seed.lines() {
        assert!(ours.iter().any(|ours| ours.starts_with(line)), "{line} is missing in:\n{printed}");
    }
}
