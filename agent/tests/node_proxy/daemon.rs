//! `--daemon`: what it heals, what it restarts and what not, and what it tells.

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::SystemTime};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{
    eventually,
    process::{Running, sh, try_sh},
};

use crate::fixture::{Node, program, seed, variables_of};

/// A daemon beside a node.
struct Daemon<'a> {
    node: &'a Node,
    running: Running,
    pid: Pid,
}

impl<'a> Daemon<'a> {
    fn start(node: &'a Node, args: &[&str]) -> Self {
        let socket = format!("--probe-socket={}", node.folder.path().join("probe.sock").display());
        let args = [&["--daemon", "-v=9", &socket], args].concat();
        let running = Running::start(&mut node.command(&args));
        running.wait_for("starting version=");
        // nsenter has started it.
        let child = || {
            let children = try_sh(&format!("pgrep --parent {}", running.pid())).stdout;
            String::from_utf8_lossy(&children).trim().parse().ok().map(Pid::from_raw)
        };
        let pid = eventually(|| running.printed(), child);
        Self { node, running, pid }
    }

    fn settled(node: &'a Node, args: &[&str]) -> Self {
        let daemon = Self::start(node, args);
        daemon.running.wait_for("in place, watching");
        daemon
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    fn stop(self) -> String {
        self.signal(Signal::SIGTERM);
        let (status, printed) = self.running.wait();
        assert!(status.success(), "{printed}");
        printed
    }

    fn page(&self, path: &str) -> String {
        let socket = self.node.folder.path().join("probe.sock");
        sh(&format!("curl -s -m 5 --unix-socket {} 'http://localhost{path}'", socket.display()))
    }

    fn probe(&self) -> (bool, String) {
        let mut command = std::process::Command::new(program().get_program());
        command
            .args(["probe", "ready"])
            .env("ASP_SIDECAR_PROBE_SOCKET", self.node.folder.path().join("probe.sock"));
        let (status, printed) = Running::start(&mut command).wait();
        (status.success(), printed)
    }

    #[track_caller]
    fn until(&self, mut check: impl FnMut() -> bool) {
        eventually(|| self.running.printed(), || check().then_some(()));
    }

    fn metric(&self, name: &str) -> f64 {
        let metrics = self.page("/metrics");
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("apiserver_proxy_node_proxy_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn modified(node: &Node, unit: &str) -> SystemTime {
    fs::metadata(node.drop_in(unit)).unwrap().modified().unwrap()
}

const WANTED: &str = "http-proxy.conf";

#[test]
fn drift_is_healed_without_a_restart() {
    let node = Node::boot();
    let daemon = Daemon::settled(&node, &["--restart"]);
    let wanted = seed(WANTED);
    for unit in ["containerd", "kubelet"] {
        node.runs_with(unit, &variables_of(&wanted));
    }
    let pids = ["containerd", "kubelet"].map(|unit| node.pid(unit));
    let before = modified(&node, "kubelet");
    let path = node.drop_in("kubelet");
    let folder = path.parent().unwrap();
    for (number, drift) in [
        format!("rm {}", path.display()),
        format!("echo 'Environment=\"no_proxy=x\"' >> {}", path.display()),
        format!("chmod 644 {}", path.display()),
        format!("rm -r {}", folder.display()),
        format!("cp {0} {1}/x; sed -i s/svc/x/ {1}/x; mv {1}/x {0}", path.display(), folder.display()),
    ]
    .iter()
    .enumerate()
    {
        sh(drift);
        let healed = u32::try_from(number + 1).unwrap();
        daemon.until(|| daemon.metric("drift_total") == f64::from(healed));
        daemon.until(|| fs::read_to_string(&path).is_ok_and(|text| text == wanted));
        daemon.until(|| modified(&node, "kubelet") == before);
    }
    daemon.running.wait_for("somebody changed it, put back: it is not there");
    // While systemd has read something else, too.
    let changed = wanted.replace("svc", "x");
    fs::write(&path, changed).unwrap();
    daemon.until(|| daemon.metric("drift_total") == 6.0);
    daemon.until(|| node.systemd.property("kubelet", "Environment").contains("svc"));
    assert_eq!(["containerd", "kubelet"].map(|unit| node.pid(unit)), pids);
    assert_eq!(
        (daemon.metric("restart_due"), daemon.metric("restart_total{result=\"success\"}")),
        (0.0, 2.0)
    );
    assert_eq!(daemon.page("/readyz"), "ok");
    let printed = daemon.stop();
    assert!(printed.contains("stopping, everything stays as it is") && path.exists(), "{printed}");
}

#[test]
fn who_was_started_while_it_was_gone_is_restarted_and_no_more_than_once_in_a_while() {
    let node = Node::boot();
    node.done(&["--apply", "--restart"]);
    let daemon = Daemon::settled(&node, &["--restart"]);
    let lose = || {
        daemon.signal(Signal::SIGSTOP);
        fs::remove_file(node.drop_in("kubelet")).unwrap();
        node.systemd.run("systemctl daemon-reload && systemctl restart kubelet");
        node.runs_with("kubelet", &[]);
        let pid = node.pid("kubelet");
        daemon.signal(Signal::SIGCONT);
        // nsenter has stopped with it.
        daemon.running.signal(Signal::SIGCONT);
        pid
    };
    let containerd = node.pid("containerd");
    let without = lose();
    node.runs_with("kubelet", &variables_of(&seed(WANTED)));
    assert_ne!(node.pid("kubelet"), without);
    assert_eq!(node.pid("containerd"), containerd);
    daemon.until(|| {
        daemon.metric("restart_total{result=\"success\"}") == 1.0 && daemon.metric("restart_due") == 0.0
    });
    // The next one has to wait.
    let without = lose();
    daemon.until(|| daemon.metric("restart_due") == 1.0);
    assert_eq!(node.pid("kubelet"), without);
    let (ready, report) = daemon.probe();
    assert!(ready && report.contains("[!]restart: kubelet run without their drop-in"), "{report}");
    daemon.stop();
}

#[test]
fn a_configuration_is_taken_up_and_a_broken_one_is_not() {
    let node = Node::boot();
    // As kubelet has it.
    let folder = node.folder.path().to_owned();
    let publish = |name: &str, text: &str| {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("egress.yaml"), text).unwrap();
        let _ = fs::remove_file(folder.join("..data_tmp"));
        symlink(name, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    publish("..1", &seed("config.yaml"));
    fs::remove_file(node.config()).unwrap();
    symlink("..data/egress.yaml", node.config()).unwrap();
    let daemon = Daemon::settled(&node, &[]);
    daemon.running.wait_for("have it once they are restarted (--restart): containerd, kubelet");
    publish("..2", &seed("config.yaml").replace("192.168.52.220", "192.168.52.222"));
    daemon.running.wait_for("the configuration has changed");
    daemon.until(|| node.text("kubelet") == seed(WANTED).replace("192.168.52.220", "192.168.52.222"));
    let good = node.text("kubelet");
    publish("..3", "proxy: {http: 'http://me:hunter2@x y'}");
    daemon.running.wait_for("the last good configuration stays in use");
    daemon.until(|| !daemon.probe().0);
    let (_, report) = daemon.probe();
    assert!(report.contains("[-]config failed:") && report.contains("[+]drop-in ok: kubelet"), "{report}");
    fs::remove_file(node.drop_in("kubelet")).unwrap();
    daemon.until(|| fs::read_to_string(node.drop_in("kubelet")).is_ok_and(|text| text == good));
    publish("..4", &seed("config.yaml").replace("units: [containerd, kubelet]", "units: [kubelet]"));
    daemon.running.wait_for("the configuration is well again");
    daemon.running.wait_for("containerd is not named any more, its drop-in stays; to remove it: node-proxy --remove --units=containerd");
    daemon.until(|| daemon.probe().0);
    assert_eq!(node.text("containerd"), good);
    let printed = daemon.stop();
    for once in
        ["the last good configuration stays", "the configuration is well again", "is not named any more"]
    {
        assert_eq!(printed.matches(once).count(), 1, "{printed}");
    }
    assert!(!printed.contains("hunter2"));
}

#[test]
fn a_fight_is_given_up_more_and_more() {
    let node = Node::boot();
    let daemon = Daemon::settled(&node, &["--restart"]);
    let pid = node.pid("kubelet");
    daemon.until(|| {
        let _ = fs::remove_file(node.drop_in("kubelet"));
        daemon.running.printed().contains("somebody changes drop-ins again and again")
    });
    // Whoever it is goes on.
    daemon.until(|| {
        let _ = fs::remove_file(node.drop_in("kubelet"));
        let (ready, report) = daemon.probe();
        !ready && report.contains("is held back while somebody changes it again and again")
    });
    assert!(daemon.metric("apply_total{result=\"held\"}") > 0.0);
    assert!(daemon.page("/readyz").contains("[+]drop-in ok: containerd"));
    // It has stopped.
    daemon.until(|| node.drop_in("kubelet").exists());
    assert_eq!(node.pid("kubelet"), pid);
    daemon.stop();
}

#[test]
fn without_systemd_it_waits_for_one() {
    let node = Node::boot();
    let elsewhere = node.folder.path().join("root");
    fs::create_dir_all(elsewhere.join("etc/systemd/system")).unwrap();
    let socket = node.folder.path().join("probe.sock");
    let mut command = node.command_at(&elsewhere, &["--daemon", "--sync-interval=200ms"]);
    command.arg(format!("--probe-socket={}", socket.display()));
    let running = Running::start(&mut command);
    running.wait_for("there is no systemd to be reached");
    let ready =
        || try_sh(&format!("curl -s --unix-socket {} http://localhost/readyz", socket.display())).stdout;
    eventually(
        || running.printed(),
        || String::from_utf8_lossy(&ready()).contains("[-]systemd failed").then_some(()),
    );
    assert!(elsewhere.join("etc/systemd/system/kubelet.service.d/http-proxy.conf").exists());
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert_eq!(printed.matches("there is no systemd to be reached").count(), 1, "told once: {printed}");
}

#[test]
fn a_wait_for_the_restart_is_cut_by_a_signal_and_heals_meanwhile() {
    let node = Node::boot();
    let daemon = Daemon::start(&node, &["--restart", "--restart-jitter=1h"]);
    let line = daemon.running.wait_for("they run without their drop-in and will be restarted");
    assert!(line.contains("units=containerd,kubelet"), "{line}");
    daemon.running.wait_for("in place, watching");
    fs::remove_file(node.drop_in("kubelet")).unwrap();
    daemon.until(|| node.drop_in("kubelet").exists());
    daemon.until(|| daemon.metric("restart_due") == 2.0);
    let printed = daemon.stop();
    assert_eq!(printed.matches("will be restarted").count(), 1, "{printed}");
    node.runs_with("kubelet", &[]);
    // Whoever comes next goes on with it.
    node.done(&["--apply", "--restart"]);
    node.runs_with("kubelet", &variables_of(&seed(WANTED)));
}

#[test]
fn pages_tell_how_it_goes() {
    let node = Node::boot();
    let daemon = Daemon::settled(&node, &["--restart"]);
    daemon.until(|| daemon.probe().0);
    let (_, report) = daemon.probe();
    for line in ["[+]config ok", "[+]drop-in ok: containerd", "[+]drop-in ok: kubelet", "[+]systemd ok"] {
        assert!(report.contains(line), "{report}");
    }
    let statusz = daemon.page("/statusz");
    assert!(
        statusz.contains("Drop-ins in place: containerd, kubelet")
            && statusz.contains("To be restarted: none"),
        "{statusz}"
    );
    assert!(daemon.page("/flagz").contains("restart=true"));
    assert!(daemon.metric("last_success_timestamp_seconds") > 1e9);
    daemon.stop();
    let socket: PathBuf = node.folder.path().join("probe.sock");
    assert!(socket.exists());
}
