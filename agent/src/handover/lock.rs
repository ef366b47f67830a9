//! One instance at a time: a lock that needs no file, and that nobody leaves behind.

use std::{
    io,
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use common::duration::GoDuration;
use nix::unistd::geteuid;

use super::socket::{self, Holder};

/// The name is the lock: only one socket can have it. Its version is the names'.
pub(super) const NAME: &str = "apiserver-proxy-sidecar/1/lock";
/// A bound name can't be waited for.
const INTERVAL: Duration = Duration::from_millis(5);

/// Why the lock was not to be had. The caller goes on without it, with a warning: it is better to disturb another
/// instance for a moment than to leave a node without its address, or a cleanup undone.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another instance has it.
    #[error(
        "another instance of the agent{} has held the lock @{NAME} for {}; if it is not at work, it hangs: stop it",
        process(*pid), GoDuration(*limit)
    )]
    Held {
        /// How long we waited.
        limit: Duration,
        /// Its process, if the kernel tells and it is in our pid namespace.
        pid: Option<i32>,
    },
    /// Somebody else has it.
    #[error(
        "the lock @{NAME} has been held for {} by a process of another user, uid {uid}{}; stop it, or let all instances run as the same user",
        GoDuration(*limit), process(*pid)
    )]
    Foreign {
        /// How long we waited.
        limit: Duration,
        /// Whose it is.
        uid: u32,
        /// Its process, if it is in our pid namespace.
        pid: Option<i32>,
    },
    /// No socket.
    #[error("cannot take the lock @{NAME}: {0}")]
    Socket(#[source] io::Error),
}

/// `" (process 17)"`, or nothing.
fn process(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// Held until dropped, or until the process ends, however it does.
#[derive(Debug)]
#[must_use = "dropped, it is free"]
pub struct Lock(#[expect(dead_code, reason = "open is all it has to be")] UnixListener);

impl Lock {
    /// Takes the lock of the calling thread's network namespace; tries at least once, and then every 5 ms. Who
    /// waits longest does not come first.
    ///
    /// # Errors
    /// When it is still held after `limit`; says by whom, as far as the kernel does.
    pub async fn take(limit: Duration) -> Result<Self, LockError> {
        let started = Instant::now();
        loop {
            match socket::bind(NAME) {
                Ok(listener) => return Ok(Self(listener)),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    return Err(LockError::Socket(error));
                }
                Err(_) => {}
            }
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(held(limit));
            }
            tokio::time::sleep(left.min(INTERVAL)).await;
        }
    }
}

/// Asked once and at the end, since each time takes a place in the holder's queue.
fn held(limit: Duration) -> LockError {
    let seen = |pid| Some(pid).filter(|pid| *pid != 0);
    match socket::holder(NAME) {
        Ok(Holder::Process { uid, pid }) if uid != geteuid().as_raw() => {
            LockError::Foreign { limit, uid, pid: seen(pid) }
        }
        Ok(Holder::Process { pid, .. }) => LockError::Held { limit, pid: seen(pid) },
        Ok(Holder::Gone | Holder::Unknown) | Err(_) => LockError::Held { limit, pid: None },
    }
}
