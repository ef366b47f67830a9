//! Whose an address or a device is, and what a cleanup leaves.

use std::process::Command;

use testkit::{
    eventually,
    netns::Netns,
    process::{Running, sh, try_sh},
    skipped,
};

use crate::fixture::{agent, has_address};

/// IFA_PROTO of the addresses on a device, by a netlink dump of its own: `ip` does not show it.
fn protocols(device: &str) -> Vec<String> {
    let script = format!(
        r#"
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.send(struct.pack("=IHHII", 24, 22, 0x301, 1, 0) + struct.pack("=BBBBI", 0, 0, 0, 0, 0))
index, done = socket.if_nametoindex("{device}"), False
while not done:
    data = s.recv(1 << 16)
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        message, data = data[16:length], data[(length + 3) & ~3:]
        if kind == 3: done = True; break
        family, prefix = struct.unpack_from("=BB", message)
        if struct.unpack_from("=I", message, 4)[0] != index: continue
        rest, address, protocol = message[8:], None, None
        while len(rest) >= 4:
            size, attribute = struct.unpack_from("=HH", rest)
            if attribute == 1: address = socket.inet_ntop(family, rest[4:size])
            if attribute == 11: protocol = rest[4]
            rest = rest[(size + 3) & ~3:]
        print(f"{{address}}/{{prefix}} {{protocol}}")
"#
    );
    let output = Command::new("python3").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

const BOTH: &str = "--ip-address=10.96.0.2,fd00::2";

#[test]
fn addresses_carry_our_mark() {
    let _netns = Netns::enter();
    assert!(agent().args([BOTH, "--daemon=false"]).status().unwrap().success());
    let marked = protocols("lo");
    assert!(marked.contains(&"10.96.0.2/32 169".to_owned()), "{marked:?}");
    assert!(marked.contains(&"fd00::2/128 169".to_owned()), "{marked:?}");
}

#[test]
fn an_identical_address_is_adopted_in_place_and_removed_by_cleanup() {
    let _netns = Netns::enter();
    sh("ip addr add 10.96.0.2/32 dev lo; ip addr add fd00::2/128 dev lo");
    let running = Running::start(agent().args([BOTH, "--cleanup"]));
    running.wait_for("in place, watching");
    let marked = protocols("lo");
    assert_eq!(marked.iter().filter(|line| line.ends_with(" 169")).count(), 2, "{marked:?}");
    assert!(!running.printed().contains("taken away"));
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert!(!has_address("lo", "10.96.0.2/32") && !has_address("lo", "fd00::2/128"));
}

#[test]
fn what_is_not_adopted_is_left_and_told() {
    let _netns = Netns::enter();
    sh("ip addr add 10.96.0.2/32 dev lo");
    let running = Running::start(agent().args([BOTH, "--cleanup", "--adopt=false"]));
    running.wait_for("in place, watching");
    assert!(protocols("lo").contains(&"10.96.0.2/32 None".to_owned()));
    let (status, printed) = running.stop();
    assert!(status.success() && printed.contains("--adopt=false"), "{printed}");
    assert!(has_address("lo", "10.96.0.2/32"), "somebody else's");
    assert!(!has_address("lo", "fd00::2/128"), "ours");
}

#[test]
fn an_address_that_came_back_after_drift_is_ours() {
    let _netns = Netns::enter();
    sh("ip addr add 10.96.0.2/32 dev lo");
    let running = Running::start(agent().args(["--ip-address=10.96.0.2", "--cleanup", "--adopt=false"]));
    running.wait_for("in place, watching");
    sh("ip addr del 10.96.0.2/32 dev lo");
    eventually(|| running.printed(), || has_address("lo", "10.96.0.2/32").then_some(()));
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert!(!has_address("lo", "10.96.0.2/32"));
}

#[test]
fn an_address_moves_with_the_interface() {
    let _netns = Netns::enter();
    sh("ip link add br7 type bridge; ip link set br7 up; ip addr add 10.96.0.9/32 dev br7");
    let on = |device: &str| {
        let interface = format!("--interface={device}");
        assert!(agent().args([BOTH, &interface, "--daemon=false"]).status().unwrap().success());
    };
    on("br7");
    assert!(has_address("br7", "10.96.0.2/32") && has_address("br7", "fd00::2/128"));
    sh("ip addr add 10.96.0.2/24 dev br7");
    on("lo");
    assert!(has_address("lo", "10.96.0.2/32") && has_address("lo", "fd00::2/128"));
    assert!(!has_address("br7", "10.96.0.2/32") && !has_address("br7", "fd00::2/128"));
    assert!(has_address("br7", "10.96.0.9/32") && has_address("br7", "10.96.0.2/24"), "not ours");
}

/// While another instance has it there, it is not a left-over.
#[test]
fn an_address_on_another_instances_interface_stays() {
    let _netns = Netns::enter();
    sh("ip link add br7 type bridge; ip link set br7 up");
    let older = Running::start(agent().args([BOTH, "--interface=br7", "--cleanup"]));
    older.wait_for("in place, watching");
    let newer = Running::start(agent().args([BOTH, "--sync-interval=100ms"]));
    newer.wait_for("in place, watching");
    assert!(has_address("br7", "10.96.0.2/32"), "{}", newer.printed());
    assert!(!older.printed().contains("taken away"), "not for a moment: {}", older.printed());
    older.stop();
    assert!(has_address("lo", "10.96.0.2/32") && !has_address("br7", "10.96.0.2/32"));
}

/// The older instance ends without taking it away.
#[test]
fn an_address_left_by_another_instance_is_removed_later() {
    let _netns = Netns::enter();
    sh("ip link add br7 type bridge; ip link set br7 up");
    let older = Running::start(agent().args([BOTH, "--interface=br7"]));
    older.wait_for("in place, watching");
    let newer = Running::start(agent().args([BOTH, "--sync-interval=100ms"]));
    newer.wait_for("in place, watching");
    older.stop();
    eventually(|| newer.printed(), || (!has_address("br7", "10.96.0.2/32")).then_some(()));
    assert!(has_address("lo", "10.96.0.2/32"));
}

/// It may come back as what it was.
#[test]
fn a_device_of_somebody_else_that_goes_is_not_created() {
    let _netns = Netns::enter();
    sh("ip link add br7 type bridge; ip link set br7 up");
    let running = Running::start(agent().args([BOTH, "--interface=br7"]));
    running.wait_for("in place, watching");
    sh("ip link del br7");
    let line = running.wait_for("not in place");
    assert!(line.contains("interface br7 does not exist; see"), "{line}");
    sh("ip link add br7 type bridge; ip link set br7 up");
    eventually(|| running.printed(), || has_address_quietly("br7", "10.96.0.2/32").then_some(()));
}

/// The mark is what makes a device ours: here a bridge that has it.
#[test]
fn a_device_with_our_mark_is_brought_up_and_removed() {
    let _netns = Netns::enter();
    sh("ip link add asp0 type bridge; ip link set asp0 alias 'created by apiserver-proxy-sidecar'");
    let running = Running::start(agent().args([BOTH, "--interface=asp0", "--cleanup"]));
    running.wait_for("in place, watching");
    assert!(sh("ip link show asp0").contains(",UP"));
    sh("ip link set asp0 down");
    eventually(|| running.printed(), || sh("ip link show asp0").contains(",UP").then_some(()));
    eventually(|| running.printed(), || has_address("asp0", "fd00::2/128").then_some(()));
    let other = Running::start(agent().args(["--ip-address=10.96.0.3", "--interface=asp0", "--cleanup"]));
    other.wait_for("in place, watching");
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert!(has_address("asp0", "10.96.0.3/32"), "another instance has an address on it");
    let (status, printed) = other.stop();
    assert!(status.success() && printed.contains("device removed"), "{printed}");
    assert!(!try_sh("ip link show asp0").status.success());
}

#[test]
fn a_device_without_our_mark_is_never_removed() {
    let _netns = Netns::enter();
    sh("ip link add br7 type bridge; ip link set br7 up; ip link set br7 alias mine");
    let running = Running::start(agent().args([BOTH, "--interface=br7", "--cleanup"]));
    running.wait_for("in place, watching");
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert!(sh("ip link show br7").contains("alias mine"));
    // Nor the loopback device, whatever its alias.
    sh("ip link set lo alias 'created by apiserver-proxy-sidecar'");
    let running = Running::start(agent().args([BOTH, "--cleanup"]));
    running.wait_for("in place, watching");
    let (status, printed) = running.stop();
    assert!(status.success() && !printed.contains("device removed"), "{printed}");
    assert!(sh("ip link show lo").contains(",UP"));
}

/// Needs the kernel's dummy driver.
#[test]
fn a_dummy_device_is_created_marked_and_removed() {
    let _netns = Netns::enter();
    if !try_sh("ip link add probe0 type dummy && ip link del probe0").status.success() {
        return skipped("a_dummy_device_is_created_marked_and_removed", "this kernel has no dummy driver");
    }
    let args = [BOTH, "--interface=asp0"];
    assert!(agent().args(args).arg("--daemon=false").status().unwrap().success(), "as an init container");
    assert!(sh("ip -details link show asp0").contains("created by apiserver-proxy-sidecar"));
    let running = Running::start(agent().args(args).arg("--cleanup"));
    running.wait_for("in place, watching");
    sh("ip link del asp0");
    eventually(|| running.printed(), || has_address_quietly("asp0", "10.96.0.2/32").then_some(()));
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert!(!try_sh("ip link show asp0").status.success());
}

fn has_address_quietly(device: &str, net: &str) -> bool {
    let shown = try_sh(&format!("ip -oneline addr show dev {device}"));
    String::from_utf8_lossy(&shown.stdout).contains(net)
}
