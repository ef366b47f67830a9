//! What the agent may still do once it runs, as the kernel has it and as the programs it starts find out.

use std::process::Command;

use testkit::{
    eventually,
    netns::Netns,
    process::{Running, sh},
};

use crate::fixture::{Case, LEGACY_V4, NFT_V4, NFTABLES_V4, agent};

/// Bits of capabilities(7).
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// A line of `/proc/PID/task/TID/status`, for every thread.
fn status(running: &Running, line: &str) -> Vec<String> {
    let all = sh(&format!("cat /proc/{}/task/*/status", running.pid()));
    let lines = all.lines().filter_map(|there| there.strip_prefix(&format!("{line}:")));
    lines.map(|value| value.trim().to_owned()).collect()
}

fn has_exactly(running: &Running, kept: u64) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        for value in status(running, set) {
            let value = u64::from_str_radix(&value, 16).unwrap();
            // A root that was started as usual inherits nothing.
            let expected = if ["CapInh", "CapAmb"].contains(&set) { 0 } else { kept };
            assert_eq!(value, expected, "{set} is {value:x}");
        }
    }
    assert!(status(running, "NoNewPrivs").iter().all(|value| value == "1"));
    assert!(status(running, "NoNewPrivs").len() > 1 || kept == NET_ADMIN, "of all threads");
}

#[test]
fn what_is_not_needed_is_dropped_from_every_set_of_every_thread() {
    for (case, kept) in [(NFT_V4, NET_ADMIN), (NFTABLES_V4, NET_ADMIN), (LEGACY_V4, NET_ADMIN | NET_RAW)] {
        let _netns = Netns::enter();
        let running = case.start(&["--sync-interval=100ms", "--cleanup"]);
        assert_eq!(case.rules(), case.wanted());
        has_exactly(&running, kept);
        case.flush("raw");
        eventually(|| running.printed(), || (case.rules() == case.wanted()).then_some(()));
        let (status, printed) = running.stop();
        assert!(status.success() && !printed.contains("cannot"), "{printed}");
    }
}

/// A wrapper in the place of iptables tries what root may do.
#[test]
fn the_programs_it_starts_can_do_no_more() {
    let _netns = Netns::enter();
    let folder = tempfile::tempdir().unwrap();
    let (program, tried) = (folder.path().join("iptables-nft"), folder.path().join("tried"));
    let script = format!(
        "#!/bin/sh\nfor try in 'mount -t tmpfs tmpfs /mnt' 'chroot / true' 'chown 1 {0}' 'kill -0 1' \\\n\
         'unshare --mount true' 'nice -n -5 true 2>&1 | grep -q denied && false'; do\n\
         sh -c \"$try\" 2>/dev/null && echo \"could: $try\" >> {0} || echo \"could not\" >> {0}\n\
         done\nexec /usr/sbin/iptables-nft \"$@\"\n",
        tried.display()
    );
    std::fs::write(&program, script).unwrap();
    sh(&format!("chmod +x {}", program.display()));
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let (status, printed) = Running::start(NFT_V4.agent(&["--daemon=false"]).env("PATH", path)).wait();
    assert!(status.success(), "{printed}");
    let tried = std::fs::read_to_string(&tried).unwrap();
    let could: Vec<&str> =
        tried.lines().filter(|line| line.starts_with("could:") && !line.contains("kill")).collect();
    assert_eq!(could, Vec::<&str>::new());
    assert!(tried.contains("could not"));
}

#[test]
fn a_capability_revoked_by_who_started_it_is_told() {
    let _netns = Netns::enter();
    let run = |bounding: &str, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([&format!("--bounding-set={bounding}"), "--inh-caps=-all"]);
        command.arg(agent().get_program()).arg("--ip-address=10.96.0.2").arg("--daemon=false").args(args);
        Running::start(&mut command).wait()
    };
    // As a container with one capability: nothing to drop, and nothing to tell.
    let (status, printed) = run("-all,+net_admin", &["--setup-iptables", "--rules-backend=iptables-nft"]);
    assert!(status.success() && !printed.contains("bounding"), "{printed}");
    // Others that can't be dropped.
    let (status, printed) = run("-setpcap", &[]);
    assert!(
        status.success() && printed.contains("cannot narrow the bounding set (CAP_SETPCAP)"),
        "{printed}"
    );
    // Legacy needs one more.
    let (status, printed) = run("-all,+net_admin", &["--setup-iptables", "--rules-backend=iptables-legacy"]);
    assert!(!status.success() && printed.contains("with iptables-legacy also CAP_NET_RAW"), "{printed}");
}

/// All that the agent does with the one capability it is documented to need.
#[test]
fn one_capability_is_enough_for_the_whole_job() {
    for case in [NFT_V4, NFTABLES_V4] {
        let _netns = Netns::enter();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs"]);
        let agent: Case = case;
        let inner = agent.agent(&["--cleanup", "--sync-interval=1h"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let running = Running::start(&mut command);
        running.wait_for("in place, watching");
        case.flush("raw");
        sh(&format!("ip addr del {} dev lo", case.net));
        eventually(|| running.printed(), || (case.rules() == case.wanted()).then_some(()));
        let (status, printed) = running.stop();
        assert!(status.success() && case.rules().is_empty(), "{printed}");
    }
}
