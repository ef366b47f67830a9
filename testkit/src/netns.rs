//! A network and mount namespace of a test's own.

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::process::sh;

/// The calling thread's own namespaces, for as long as the thread lives; programs that it starts are in them.
///
/// The loopback device is up, nothing else is there. `/run` is empty and private, so the xtables lock is too.
/// With `NETNS_HOLD=1` in its environment a failed test waits, and says how to look around in its namespace.
#[derive(Debug)]
pub struct Netns(());

impl Netns {
    /// Leaves the machine's namespaces behind.
    ///
    /// # Panics
    /// When that is not permitted: a test of this kind needs root, or root in a user namespace.
    #[must_use]
    pub fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap_or_else(|error| {
            panic!("no namespace of its own for this test ({error}): run it by `make test`, or as root")
        });
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("a private /run");
        sh("ip link set lo up");
        Self(())
    }

    /// Hides a folder behind an empty one.
    ///
    /// # Panics
    /// When it can't be mounted over.
    pub fn hide(&self, folder: &str) {
        let none: Option<&str> = None;
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none).expect("an empty folder");
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("NETNS_HOLD").is_some() {
            let task = format!("/proc/{}/task/{}/ns", std::process::id(), nix::unistd::gettid());
            eprintln!("look around, end with Ctrl-C: nsenter --net={task}/net --mount={task}/mnt");
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
    }
}
