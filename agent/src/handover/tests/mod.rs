//! On the real kernel, each test in a network namespace of its own: nobody else's names are there.
//!
//! What was bound can outlast its drop for a moment, since programs that other tests start have a copy of every
//! descriptor until they execute. So these tests wait for a name to go.

mod lock;
mod presence;

use std::{process::Command, time::Duration};

use testkit::{eventually, process::Running};

use super::{
    claim::{Claims, Instance, InstanceId, Rules},
    living::living,
    lock::{Lock, LockError},
    names::Name,
    socket::{self, Holder},
};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// Binds the names it is given, with queues of the length it is given.
const BINDER: &str = r#"
import signal, socket, sys
kept = []
for name in sys.argv[2:]:
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind("\0" + name)
    kept[-1].listen(int(sys.argv[1]))
print("bound", flush=True)
signal.pause()
"#;

/// Another process, that has bound these names.
fn binder(names: &[&str]) -> Running {
    start(Command::new("/usr/bin/python3"), 128, names)
}

/// A process of uid 65534, that has bound these names; none in a user namespace of one user, where nobody else is
/// to be had.
fn foreign_binder(names: &[&str]) -> Option<Running> {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    if map.split_whitespace().last() == Some("1") {
        return None;
    }
    let mut python = Command::new("setpriv");
    python.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3"]);
    Some(start(python, 128, names))
}

/// Another process, that has bound this name and whose queue is full.
fn busy_binder(name: &str) -> Running {
    let running = start(Command::new("/usr/bin/python3"), 0, &[name]);
    let full = || (socket::holder(name).unwrap() == Holder::Unknown).then_some(());
    eventually(|| "the queue to be full".to_owned(), full);
    running
}

fn start(mut python: Command, queue: u32, names: &[&str]) -> Running {
    let running = Running::start(python.args(["-c", BINDER, &queue.to_string()]).args(names));
    running.wait_for("bound");
    running
}

fn claims(interface: &str, addresses: &[impl AsRef<str>], rules: Rules) -> Claims {
    Claims {
        interface: interface.parse().unwrap(),
        addresses: addresses.iter().map(|text| text.as_ref().parse().unwrap()).collect(),
        port: 443.try_into().unwrap(),
        rules,
    }
}

/// 64, each as long as can be.
fn many_addresses() -> Vec<String> {
    (0x1000..0x1040).map(|n| format!("fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:{n:x}")).collect()
}

/// One claim on `lo`, as another instance would announce it.
fn name(address: &str, rules: Rules) -> Name {
    let claim = claims("lo", &[address], rules).each().next().unwrap();
    Name { instance: InstanceId::random(), claim }
}

/// What somebody sees who has announced nothing.
fn seen() -> Vec<Instance> {
    living(InstanceId::random()).unwrap()
}

/// Waits until nobody is seen.
fn nobody_left() {
    eventually(|| format!("nobody, but there is {:?}", seen()), || seen().is_empty().then_some(()));
}

/// Takes the lock on this thread: another one could be in another network namespace.
fn take(limit: Duration) -> Result<Lock, LockError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(Lock::take(limit))
}
