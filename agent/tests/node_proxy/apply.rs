//! `--apply`, and what systemd makes of it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Command,
    time::{Duration, SystemTime},
};

use testkit::{process::Running, systemd::Systemd};

use crate::fixture::{Node, program, seed, variables_of};

const UNITS: [&str; 2] = ["containerd", "kubelet"];

#[test]
fn from_nothing_to_the_seeds_drop_ins_and_back_to_nothing_to_do() {
    for node in [Node::boot(), Node::with(Systemd::boot_with_bus())] {
        let wanted = seed("http-proxy.conf");
        let printed = node.done(&["--apply", "-v=9"]);
        assert!(
            printed.contains("have it once they are restarted (--restart): containerd, kubelet"),
            "{printed}"
        );
        for unit in UNITS {
            assert_eq!(node.text(unit), wanted);
            let metadata = fs::metadata(node.drop_in(unit)).unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o600, 0));
            let folder = fs::metadata(node.drop_in(unit).parent().unwrap()).unwrap();
            assert_eq!(folder.mode() & 0o7777, 0o755);
            assert_eq!(node.entries(unit), ["http-proxy.conf"]);
            let read = node.systemd.property(unit, "Environment");
            let mut read: Vec<&str> = read.split(' ').collect();
            read.sort_unstable();
            assert_eq!(read, variables_of(&wanted));
            assert!(node.variables(unit).is_empty(), "it was not restarted");
        }
        let pids = UNITS.map(|unit| node.pid(unit));
        let printed = node.done(&["--apply", "--restart"]);
        assert!(
            printed.contains("restarted=\"containerd,kubelet\"")
                || printed.contains("restarted=containerd,kubelet"),
            "{printed}"
        );
        for (unit, pid) in UNITS.iter().zip(&pids) {
            node.runs_with(unit, &variables_of(&wanted));
            assert_ne!(node.pid(unit), *pid);
        }
        let state = || {
            let units = UNITS.map(|unit| (node.inode(unit), node.pid(unit)));
            (units, node.systemd.units_read())
        };
        let before = state();
        for args in [&["--apply"][..], &["--apply", "--restart"]] {
            let printed = node.done(args);
            assert!(printed.contains("in place written=0"), "{printed}");
        }
        assert_eq!(state(), before);
    }
}

#[test]
fn a_change_restarts_once_and_only_who_runs_without_it() {
    let node = Node::boot();
    node.done(&["--apply", "--restart"]);
    let before = UNITS.map(|unit| node.pid(unit));
    node.systemd.run("systemctl stop kubelet");
    node.configure(&seed("config.yaml").replace("192.168.52.220", "192.168.52.221"));
    let printed = node.done(&["--apply", "--restart"]);
    assert!(printed.contains("restarted, it runs with its drop-in unit=containerd"), "{printed}");
    assert!(!printed.contains("unit=kubelet"), "{printed}");
    assert_ne!(node.pid("containerd"), before[0]);
    assert_eq!(node.systemd.property("kubelet", "ActiveState"), "inactive", "what is stopped stays so");
    node.runs_with("containerd", &variables_of(&node.text("containerd")));
    node.systemd.run("systemctl start kubelet");
    let pids = UNITS.map(|unit| node.pid(unit));
    node.done(&["--apply", "--restart"]);
    assert_eq!(UNITS.map(|unit| node.pid(unit)), pids);
}

/// What a killed run has left undone.
#[test]
fn a_kill_between_the_steps_is_made_good() {
    let node = Node::boot();
    // Files are written, and systemd was not told: as the mount of the host's folder without its sockets has it.
    let etc = tempfile::tempdir().unwrap();
    fs::create_dir_all(etc.path().join("etc")).unwrap();
    fs::create_dir_all(etc.path().join("etc/systemd/system")).unwrap();
    let (_, printed) = Running::start(&mut node.command_at(etc.path(), &["--apply"])).wait();
    assert!(printed.contains("no systemd at"), "{printed}");
    for unit in UNITS {
        let folder = node.drop_in(unit).parent().unwrap().to_owned();
        fs::create_dir(&folder).unwrap();
        let from = etc.path().join(format!("etc/systemd/system/{unit}.service.d/http-proxy.conf"));
        fs::copy(from, node.drop_in(unit)).unwrap();
        fs::set_permissions(node.drop_in(unit), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let before = UNITS.map(|unit| node.pid(unit));
    let printed = node.done(&["--apply", "--restart"]);
    assert!(printed.contains("in place written=0"), "{printed}");
    assert_eq!(node.systemd.property("kubelet", "NeedDaemonReload"), "no");
    for (unit, before) in UNITS.iter().zip(&before) {
        assert_ne!(node.pid(unit), *before);
        node.runs_with(unit, &variables_of(&seed("http-proxy.conf")));
    }
}

/// The clock was set back after the file was written.
#[test]
fn a_file_from_the_future_costs_one_restart() {
    let node = Node::boot();
    node.done(&["--apply", "--restart"]);
    let future = SystemTime::now() + Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(node.drop_in("kubelet")).unwrap();
    file.set_modified(future).unwrap();
    let before = UNITS.map(|unit| node.pid(unit));
    let printed = node.done(&["--apply", "--restart"]);
    assert!(printed.contains("unit=kubelet") && !printed.contains("unit=containerd"), "{printed}");
    let after = UNITS.map(|unit| node.pid(unit));
    assert!(after[0] == before[0] && after[1] != before[1]);
    assert!(fs::metadata(node.drop_in("kubelet")).unwrap().modified().unwrap() < future);
    let read = node.systemd.units_read();
    node.done(&["--apply", "--restart"]);
    assert_eq!(UNITS.map(|unit| node.pid(unit)), after);
    assert_eq!(node.systemd.units_read(), read, "an earlier time makes systemd want no reload");
}

#[test]
fn other_rights_are_mended_without_a_restart() {
    let node = Node::boot();
    node.done(&["--apply", "--restart"]);
    let before = UNITS.map(|unit| node.pid(unit));
    fs::set_permissions(node.drop_in("kubelet"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(node.drop_in("containerd"), fs::Permissions::from_mode(0o000)).unwrap();
    // Only a capability could open it.
    let printed =
        node.fails(&["--apply", "--restart"], "containerd.service.d/http-proxy.conf: Permission denied");
    assert!(printed.contains("chown root, chmod u+rwX"), "{printed}");
    fs::set_permissions(node.drop_in("containerd"), fs::Permissions::from_mode(0o640)).unwrap();
    node.done(&["--apply", "--restart"]);
    for unit in UNITS {
        let metadata = fs::metadata(node.drop_in(unit)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o600, 0), "{unit}");
    }
    assert_eq!(UNITS.map(|unit| node.pid(unit)), before);
}

/// As a container of root without any capability, in the mount namespace of the node.
#[test]
fn no_capability_is_needed() {
    let node = Node::boot();
    let setpriv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
    for action in ["--apply", "--check", "--apply", "--remove"] {
        let mut command = node.command_with(&setpriv, &[action, "--restart"]);
        let (status, printed) = Running::start(&mut command).wait();
        assert!(status.success() && !printed.contains("privileges"), "{action}: {printed}");
        if action == "--apply" {
            node.runs_with("kubelet", &variables_of(&seed("http-proxy.conf")));
        }
    }
    node.runs_with("kubelet", &[]);
    assert!(node.entries("kubelet").is_empty());
}

#[test]
fn without_systemd_files_are_written_and_nothing_is_restarted() {
    let root = tempfile::tempdir().unwrap();
    let config = testkit::testdata("egress/seed/config.yaml");
    let run = |args: &[&str]| {
        let mut command = program();
        command.arg(format!("--root={}", root.path().display()));
        command.arg(format!("--egress-config={}", config.display())).args(args);
        let (status, printed) = Running::start(&mut command).wait();
        (status.code().unwrap(), printed)
    };
    let (code, printed) = run(&["--apply"]);
    assert!(code == 1 && printed.contains("is --root the node's file system"), "{printed}");
    fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
    let (code, printed) = run(&["--apply"]);
    assert!(code == 0 && printed.contains("takes effect when it reads its units"), "{printed}");
    let written = root.path().join("etc/systemd/system/kubelet.service.d/http-proxy.conf");
    assert_eq!(fs::read_to_string(&written).unwrap(), seed("http-proxy.conf"));
    let (code, printed) = run(&["--apply", "--restart"]);
    assert!(code == 1 && printed.contains("nothing was restarted"), "{printed}");
    // A socket that nobody listens on.
    fs::create_dir_all(root.path().join("run/systemd")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.path().join("run/systemd/private")).unwrap());
    let (code, printed) = run(&["--apply"]);
    assert!(code == 1 && printed.contains("nobody listens there"), "{printed}");
    assert!(written.exists());
    assert_eq!(run(&["--check"]).0, 0);
}

#[test]
fn a_unit_that_does_not_come_back_is_an_error_and_the_rest_is_left() {
    let node = Node::boot();
    let script = node.systemd.path("/etc/systemd/system/containerd.service");
    fs::write(script, "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nExecStart=/bin/false\n")
        .unwrap();
    let before = node.pid("kubelet");
    node.fails(
        &["--apply", "--restart"],
        "containerd.service is failed after its restart; see journalctl -u containerd",
    );
    assert_eq!(node.pid("kubelet"), before);
    assert_eq!(node.text("kubelet"), seed("http-proxy.conf"));
    // Not active any more, so nothing is due for it; the other one still is.
    node.done(&["--apply", "--restart"]);
    assert_ne!(node.pid("kubelet"), before);
}

#[test]
fn what_is_printed_is_the_drop_in_and_nothing_else() {
    let config = testkit::testdata("egress/seed/config.yaml");
    let mut command = program();
    command.arg(format!("--egress-config={}", config.display())).arg("--print=kubelet.service").arg("-v=9");
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), seed("http-proxy.conf"));
    let full = Command::new("sh").arg("-c").arg(format!("{command:?} > /dev/full")).output().unwrap();
    assert_eq!(full.status.code(), Some(1), "half a file is none");
    let help = program().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.starts_with("Usage of apiserver-proxy-sidecar node-proxy (")
            && help.contains("--restart-jitter")
    );
    assert_eq!(program().output().unwrap().status.code(), Some(2));
}

/// What deploy/node-proxy.yaml mounts, and nothing else of the node, with the sockets' folders read-only.
#[test]
fn the_mounts_of_the_daemon_set_are_enough() {
    let node = Node::with(Systemd::boot_with_bus());
    let from = node.systemd.mounted().display();
    let host = tempfile::tempdir().unwrap();
    let to = host.path().display();
    let mounts = |folders: &[(&str, &str)]| {
        let mut script = format!("set -e; mount -t tmpfs tmpfs {to}; ");
        for (folder, options) in folders {
            script += &format!("mkdir -p {to}/{folder}; mount -o bind {from}/{folder} {to}/{folder}; ");
            script += &format!("mount -o remount,bind,{options} {to}/{folder}; ");
        }
        script + "exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \"$@\""
    };
    let units = ("etc/systemd/system", "rw");
    for sockets in [&[("run/dbus", "ro"), ("run/systemd", "ro")][..], &[("run/systemd", "ro")]] {
        let script = mounts(&[&[units], sockets].concat());
        let before = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        let inner = node.command_at(host.path(), &["--apply", "--restart"]);
        let mut command = node.systemd.beside();
        command.args(before).arg(inner.get_program()).args(inner.get_args());
        let (status, printed) = Running::start(&mut command).wait();
        assert!(status.success() && printed.contains("restarted=containerd,kubelet"), "{printed}");
        node.runs_with("kubelet", &variables_of(&node.text("kubelet")));
        node.configure(&seed("config.yaml").replace("192.168.52.220", "192.168.52.229"));
    }
}
