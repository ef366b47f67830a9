//! `--check` and `--remove`, and what is not ours.

use std::{fs, os::unix::fs::symlink};

use testkit::process::{Running, sh};

use crate::fixture::{Node, PASSWORD, program, seed, variables_of};

#[test]
fn a_check_says_what_differs_and_changes_nothing() {
    let node = Node::boot();
    let read = node.systemd.units_read();
    let printed = node.fails(&["--check"], "it is not there");
    assert!(
        printed.contains("--- /dev/null") && printed.contains("+Environment=\"HTTP_PROXY=http://***@"),
        "{printed}"
    );
    assert!(node.entries("kubelet").is_empty() && node.systemd.units_read() == read);
    node.done(&["--apply"]);
    assert_eq!(node.done(&["--check"]), "in place: containerd, kubelet\n");
    node.configure(&seed("config.yaml").replace(PASSWORD, "another"));
    let printed = node.fails(&["--check"], "its content differs");
    let line = "Environment=\"HTTP_PROXY=http://***@192.168.52.220:3128\"\n";
    assert!(printed.contains(&format!("\n-{line}")) && printed.contains(&format!("\n+{line}")), "{printed}");
    assert!(printed.contains("\n Environment=\"NO_PROXY=cluster.local"), "{printed}");
    assert!(!printed.contains(PASSWORD) && !printed.contains("another"), "{printed}");
    assert_eq!(node.text("kubelet"), seed("http-proxy.conf"));
    node.configure(&seed("config.yaml"));
    sh(&format!("chmod 644 {}", node.drop_in("kubelet").display()));
    node.fails(&["--check"], "kubelet.service.d/http-proxy.conf: its mode is 0644 instead of 0600");
}

#[test]
fn removal_takes_ours_and_leaves_the_rest() {
    let node = Node::boot();
    node.done(&["--apply", "--restart"]);
    let other = node.drop_in("kubelet").with_file_name("10-other.conf");
    fs::write(&other, "[Service]\nEnvironment=OTHER=1\n").unwrap();
    fs::write(node.drop_in("containerd").with_file_name(".http-proxy.conf.new"), "half").unwrap();
    let before = node.pid("kubelet");
    let root = format!("--root={}", node.systemd.mounted().display());
    let remove = |args: &[&str]| {
        let mut command = node.systemd.beside();
        // Without a configuration.
        command
            .arg(program().get_program())
            .args(["node-proxy", "--remove", &root, "--restart-jitter=0"])
            .args(args);
        let (status, printed) = Running::start(&mut command).wait();
        (status.code().unwrap(), printed)
    };
    let (code, printed) = remove(&["--units=containerd,kubelet"]);
    assert!(
        code == 0 && printed.contains("until they are restarted (systemctl restart): containerd, kubelet"),
        "{printed}"
    );
    assert_eq!(node.pid("kubelet"), before);
    assert_eq!(node.entries("kubelet"), ["10-other.conf"]);
    assert!(!node.drop_in("containerd").parent().unwrap().exists());
    assert_eq!(node.systemd.property("kubelet", "Environment"), "OTHER=1");
    let (code, printed) = remove(&["--units=containerd,kubelet"]);
    assert!(code == 0 && printed.contains("removed=0"), "gone is gone: {printed}");
    node.done(&["--apply", "--restart"]);
    node.runs_with("kubelet", &variables_of(&seed("http-proxy.conf")));
    node.done(&["--remove", "--restart"]);
    ["containerd", "kubelet"].into_iter().for_each(|unit| node.runs_with(unit, &[]));
    // Who never ran with it is left alone.
    node.done(&["--apply"]);
    let pids = ["containerd", "kubelet"].map(|unit| node.pid(unit));
    node.done(&["--remove", "--restart"]);
    assert_eq!(["containerd", "kubelet"].map(|unit| node.pid(unit)), pids);
}

#[test]
fn what_is_not_ours_is_neither_written_over_nor_removed() {
    let node = Node::boot();
    let theirs = "[Service]\nEnvironment=HTTP_PROXY=http://me:hunter2@old\nRestart=always\n";
    fs::create_dir_all(node.drop_in("containerd").parent().unwrap()).unwrap();
    fs::write(node.drop_in("containerd"), theirs).unwrap();
    for action in ["--apply", "--check", "--remove"] {
        let printed = node.fails(&[action], "has other settings than the proxy's (line 3)");
        assert!(!printed.contains("hunter2") && printed.contains("a drop-in of another name"), "{printed}");
        assert_eq!(node.text("containerd"), theirs);
        if action == "--apply" {
            assert_eq!(node.text("kubelet"), seed("http-proxy.conf"), "one does not keep the other from it");
        }
    }
    // The seed's own, written by hand in another way, is ours.
    fs::write(
        node.drop_in("containerd"),
        "# by hand\n[Service]\nEnvironment='HTTP_PROXY=http://me:hunter2@old'\n",
    )
    .unwrap();
    let printed = node.fails(&["--check"], "its content differs");
    assert!(!printed.contains("hunter2") && printed.contains("-# by hand"), "{printed}");
    node.done(&["--apply"]);
    assert_eq!(node.text("containerd"), seed("http-proxy.conf"));
}

#[test]
fn what_is_no_file_is_an_error() {
    let node = Node::boot();
    let path = node.drop_in("containerd");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let at = path.display();
    for (make, kind) in [
        (format!("mkdir {at}"), "a folder"),
        (format!("ln -s /nowhere {at}"), "a symlink"),
        (format!("ln -s /etc/passwd {at}"), "a symlink"),
    ] {
        sh(&make);
        for action in ["--apply", "--check", "--remove"] {
            node.fails(&[action], &format!("http-proxy.conf is {kind} and no file; remove it"));
        }
        sh(&format!("rm -r {at}"));
    }
    // systemd itself would wait for its other end for ever, so it is not made to read it.
    sh(&format!("mkfifo {at}"));
    node.fails(&["--check"], "http-proxy.conf is a pipe and no file; remove it");
    sh(&format!("rm {at}"));
    fs::write(&path, "#".repeat(100_000)).unwrap();
    node.fails(&["--apply"], "(more than 65536 bytes)");
    fs::write(&path, [0xff]).unwrap();
    node.fails(&["--apply"], "(no UTF-8)");
    fs::remove_file(&path).unwrap();
    // What a killed run left.
    fs::write(path.with_file_name(".http-proxy.conf.new"), "half").unwrap();
    node.done(&["--apply"]);
    assert_eq!(node.entries("containerd"), ["http-proxy.conf"]);
}

#[test]
fn symlinks_lead_nowhere_but_into_the_root() {
    let node = Node::boot();
    // An absolute target: the node's own /opt, and not the one of the program.
    let outside = tempfile::tempdir().unwrap();
    let folder = node.drop_in("kubelet").parent().unwrap().to_owned();
    fs::create_dir_all(node.systemd.path(outside.path().to_str().unwrap())).unwrap();
    symlink(outside.path(), &folder).unwrap();
    let up = node.drop_in("containerd").parent().unwrap().to_owned();
    fs::create_dir_all(node.systemd.path("/opt/drop-ins")).unwrap();
    symlink("../../../../../../../../opt/drop-ins", &up).unwrap();
    node.done(&["--apply", "--restart"]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let inside = node.systemd.path(outside.path().to_str().unwrap()).join("http-proxy.conf");
    assert_eq!(fs::read_to_string(inside).unwrap(), seed("http-proxy.conf"));
    assert!(node.systemd.path("/opt/drop-ins/http-proxy.conf").exists());
    node.runs_with("kubelet", &variables_of(&seed("http-proxy.conf")));
    node.done(&["--remove"]);
    assert!(fs::symlink_metadata(&folder).unwrap().is_symlink(), "their symlink stays");
    assert_eq!(fs::read_dir(node.systemd.path("/opt/drop-ins")).unwrap().count(), 0);
    fs::remove_dir_all(node.systemd.path("/opt/drop-ins")).unwrap();
    node.fails(&["--apply"], "containerd.service.d is a symlink that leads nowhere and no file; remove it");
}

#[test]
fn a_broken_configuration_touches_nothing() {
    let node = Node::boot();
    for (text, words) in [
        ("proxy: {http: 'http://me:hunter2@x y'}", "egress.yaml: line 1"),
        (
            "proxy: {http: 'http://me:hunter2@x'}\nnodes: {units: [../../x]}",
            "nodes.units: \"../../x\" is not the name",
        ),
        ("proxy: {http: 'http://me:hunter2@x'}\nbogus: 1", "line 2"),
        ("", "no proxy is named"),
    ] {
        node.configure(text);
        for action in ["--apply", "--check", "--daemon", "--print=kubelet", "--remove"] {
            let printed = node.fails(&[action], words);
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }
    fs::remove_file(node.config()).unwrap();
    node.fails(&["--apply"], "cannot be read");
    sh(&format!("mkfifo {}", node.config().display()));
    node.fails(&["--apply"], "not a regular file");
    assert!(node.entries("kubelet").is_empty());
}
