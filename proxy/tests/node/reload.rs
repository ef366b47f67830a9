//! The file of `--config`, changed while the proxy runs.

use std::{fs, path::Path};

use testkit::{eventually, process::Running};

use crate::fixture::{Client, binary, page, scene, server};

/// As kubelet and editors do it: in one step.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
fn endpoints_and_limits_change_and_connections_stay() {
    let _netns = scene();
    server("two", "127.0.0.2:6443");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    let listen = "listen:\n- 10.96.0.2:443\n";
    write(&file, &format!("{listen}upstream: [127.0.0.1:6443]\n"));
    let mut command = binary();
    let running = Running::start(command.arg(format!("--config={}", file.display())));
    running.wait_for("accepting connections");
    let (mut first, name) = Client::greeted();
    assert_eq!(name, "one");

    write(&file, &format!("{listen}upstream: [127.0.0.2:6443]\nmaxConnections: 2\naccessLog: all\n"));
    running.wait_for("the file of --config has changed, and is in force");
    assert!(page("/flagz").1.contains("max-connections=2\n"));
    eventually(|| running.printed(), || (Client::greeted().1 == "two").then_some(()));
    first.echoes("as before").unwrap();

    write(&file, "listen: [\n");
    let told = running.wait_for("configuration: not replaced, the last good one stays in use");
    assert!(told.contains("proxy.yaml: line"), "{told}");
    let (status, text) = page("/readyz?verbose");
    assert!(status == 200 && text.contains("[!]configuration: not replaced"), "{text}");
    assert_eq!(Client::greeted().1, "two");
    fs::remove_file(&file).unwrap();
    running.wait_for("cannot read");

    write(&file, "listen: 10.96.0.2:444\nthreads: 3\nupstream: [127.0.0.1:6443]\n");
    running.wait_for("configuration: all is well again");
    let told = running.wait_for("takes a restart");
    assert!(told.contains("keys=listen,threads"), "{told}");
    // What is in force, not what the file says.
    assert!(page("/flagz").1.contains("\nlisten=10.96.0.2:443\n"), "{}", page("/flagz").1);
    eventually(|| running.printed(), || (Client::greeted().1 == "one").then_some(()));
    first.echoes("to the end").unwrap();
    drop(first);
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert_eq!(printed.matches("not replaced").count(), 2, "each once:\n{printed}");
}

#[test]
fn checks_change() {
    let _netns = scene();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    let fixed = "listen: [10.96.0.2:443]\nupstream: [127.0.0.1:6443]\nhealthInterval: 1s\n";
    write(&file, fixed);
    let mut command = binary();
    let running = Running::start(command.arg(format!("--config={}", file.display())));
    running.wait_for("accepting connections");
    let (mut client, _) = Client::greeted();
    // It does not speak TLS.
    write(&file, &format!("{fixed}healthCheck: tls\nhealthSni: api.example\n"));
    let told = running.wait_for("endpoint failed: its checks did");
    assert!(told.contains("endpoint=127.0.0.1:6443") && told.contains("why=\"TLS: "), "{told}");
    write(&file, fixed);
    running.wait_for("endpoint is well again endpoint=127.0.0.1:6443");
    client.echoes("no other is left to go to").unwrap();
}
