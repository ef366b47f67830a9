//! Kills, full disks, read-only disks and others at the same time: the old file or the new one, never half of one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use testkit::{
    netns::Netns,
    process::{Running, sh},
};

use crate::fixture::{Node, PASSWORD, program, seed, variables_of};

/// A root without a systemd that runs, and two configurations.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        let root = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
        for (name, password) in [("a", PASSWORD), ("b", "another")] {
            let text = seed("config.yaml").replace(PASSWORD, password);
            fs::write(root.folder.path().join(name), text).unwrap();
        }
        root
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn drop_in(&self) -> PathBuf {
        self.path().join("etc/systemd/system/kubelet.service.d/http-proxy.conf")
    }

    fn command(&self, config: &str) -> Command {
        let mut command = program();
        command.args(["--apply", "--units=kubelet", &format!("--root={}", self.path().display())]);
        command.arg(format!("--egress-config={}", self.folder.path().join(config).display()));
        command
    }

    fn apply(&self, config: &str) -> (i32, String) {
        let (status, printed) = Running::start(&mut self.command(config)).wait();
        (status.code().unwrap(), printed)
    }

    /// What the drop-in has: `a`, `b`, or nothing; anything else is wrong.
    fn has(&self) -> Option<&'static str> {
        let text = fs::read_to_string(self.drop_in()).ok()?;
        let a = seed("http-proxy.conf");
        let found = [("a", a.clone()), ("b", a.replace(PASSWORD, "another"))];
        let found = found.into_iter().find(|(_, wanted)| *wanted == text).map(|(name, _)| name);
        Some(found.unwrap_or_else(|| panic!("half a file: {text:?}")))
    }

    fn entries(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.drop_in().parent().unwrap()) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Killed at the first, the second … call of each kind.
#[test]
fn a_kill_at_any_moment_leaves_the_old_file_or_the_new_one() {
    let root = Root::new();
    let (mut kills, mut left) = (0, 0);
    for syscall in [
        "openat2",
        "mkdirat",
        "unlinkat",
        "openat",
        "fchmod",
        "write",
        "utimensat",
        "fsync",
        "rename",
        "renameat",
        "flock",
    ] {
        for nth in 1.. {
            let old = root.has();
            let new = if old == Some("a") { "b" } else { "a" };
            if nth % 3 == 0 {
                // From nothing, with a folder to be made.
                let _ = fs::remove_dir_all(root.drop_in().parent().unwrap());
            }
            let old = old.filter(|_| nth % 3 != 0);
            let inner = root.command(new);
            let mut strace = Command::new("strace");
            strace.args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                &format!("--inject={syscall}:signal=KILL:when={nth}"),
            ]);
            strace.arg(inner.get_program()).args(inner.get_args());
            let (status, printed) = Running::start(&mut strace).wait();
            let found = root.has();
            assert!(found == old || found == Some(new), "{syscall} {nth}: {found:?} {printed}");
            let others = root.entries().into_iter().filter(|name| name != "http-proxy.conf");
            let others: Vec<String> =
                others.inspect(|name| assert_eq!(name, ".http-proxy.conf.new")).collect();
            left += others.len();
            if status.success() {
                assert!(others.is_empty());
                break;
            }
            kills += 1;
            let (code, printed) = root.apply(new);
            assert!(code == 0 && root.has() == Some(new), "{syscall} {nth}: {printed}");
            assert_eq!(root.entries(), ["http-proxy.conf"]);
        }
    }
    assert!(kills > 15 && left > 2, "{kills} kills, {left} left something");
}

/// Between the file and the restart, with a systemd that has to be told.
#[test]
fn a_kill_in_the_middle_of_a_restart_is_made_good() {
    let node = Node::boot();
    for nth in (1..=40).step_by(3) {
        let password = format!("password{nth}");
        node.configure(&seed("config.yaml").replace(PASSWORD, &password));
        let inject = format!("--inject=sendto:signal=KILL:when={nth}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", &inject];
        let (_, killed) = Running::start(&mut node.command_with(&strace, &["--apply", "--restart"])).wait();
        let printed = node.done(&["--apply", "--restart"]);
        let wanted = seed("http-proxy.conf").replace(PASSWORD, &password);
        for unit in ["containerd", "kubelet"] {
            assert_eq!(node.text(unit), wanted);
            println!("{nth}: {killed}\n{printed}");
            node.runs_with(unit, &variables_of(&wanted));
        }
    }
}

fn mount_small(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    sh(&format!("mount -t tmpfs -o size=8k,mode=755 tmpfs {}", folder.display()));
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let _netns = Netns::enter();
    let root = Root::new();
    mount_small(root.drop_in().parent().unwrap());
    assert_eq!(root.apply("a").0, 0);
    let ballast = root.drop_in().with_file_name("ballast");
    fs::write(&ballast, [0; 4096]).unwrap();
    let (code, printed) = root.apply("b");
    assert!(
        code == 1 && printed.contains("No space left on device") && printed.contains("make room there"),
        "{printed}"
    );
    assert!(printed.contains("kubelet.service.d/.http-proxy.conf.new"), "{printed}");
    assert_eq!(root.has(), Some("a"));
    assert!(!root.drop_in().with_file_name(".http-proxy.conf.new").exists());
    fs::remove_file(ballast).unwrap();
    assert_eq!((root.apply("b").0, root.has()), (0, Some("b")));
}

#[test]
fn a_read_only_disk_leaves_the_old_file() {
    let _netns = Netns::enter();
    let root = Root::new();
    let folder = root.drop_in().parent().unwrap().to_owned();
    mount_small(&folder);
    assert_eq!(root.apply("a").0, 0);
    sh(&format!("mount -o remount,ro {}", folder.display()));
    assert_eq!(root.apply("a").0, 0, "there is nothing to do");
    let (code, printed) = root.apply("b");
    assert!(
        code == 1 && printed.contains("Read-only file system") && printed.contains("mount it writable"),
        "{printed}"
    );
    assert_eq!((root.has(), root.entries()), (Some("a"), vec!["http-proxy.conf".to_owned()]));
    sh(&format!("mount -o remount,rw {}", folder.display()));
    assert_eq!((root.apply("b").0, root.has()), (0, Some("b")));
}

#[test]
fn many_at_once_take_turns() {
    let root = Root::new();
    let start = |config| -> Child {
        root.command(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let all: Vec<Child> = (0..20).map(|n| start(if n % 2 == 0 { "a" } else { "b" })).collect();
    for mut one in all {
        assert!(one.wait().unwrap().success());
    }
    assert!(root.has().is_some());
    assert_eq!(root.entries(), ["http-proxy.conf"]);
}

#[test]
fn who_hangs_with_the_lock_is_told_of() {
    let root = Root::new();
    let folder = root.path().join("etc/systemd/system");
    let mut flock = Command::new("flock");
    let _holder = Running::start(flock.arg(&folder).args(["sleep", "60"]));
    testkit::eventually(
        || "the lock".to_owned(),
        || {
            let free =
                Command::new("flock").arg("--nonblock").arg(&folder).arg("true").status().unwrap().success();
            (!free).then_some(())
        },
    );
    let (code, printed) = root.apply("a");
    assert!(code == 1 && printed.contains("another process has held it for 10s"), "{printed}");
    assert_eq!(root.has(), None);
}

#[test]
fn the_umask_makes_no_difference() {
    let root = Root::new();
    for umask in ["000", "777"] {
        let inner = root.command("a");
        let script = format!("umask {umask}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        let (status, printed) = Running::start(&mut command).wait();
        assert!(status.success(), "{printed}");
        let modes =
            sh(&format!("stat -c %a {0} {0}/http-proxy.conf", root.drop_in().parent().unwrap().display()));
        assert_eq!(modes, "755\n600\n", "{umask}");
        fs::remove_dir_all(root.drop_in().parent().unwrap()).unwrap();
    }
}
