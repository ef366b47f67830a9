//! For tests only: what they need to meet the real kernel, real sockets and real programs.
//!
//! - [`netns`]: a network and mount namespace of the test's own.
//! - [`process`]: programs started, watched, signalled and never left behind.
//! - [`balancer`]: one address in front of several servers, as a Service is.
//! - [`cluster`]: an API server, fake or real.
//! - [`https`]: a client whose connections are counted.
//! - [`load`]: a steady load of requests, and what came of them.
//! - [`pki`]: certificate authorities and certificates.
//! - [`recorder`]: a proxy, or any host, that remembers who came.
//! - [`systemd`]: a real one, in namespaces of its own.
//! - [`eventually`]: waiting for something to become true.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

pub mod balancer;
pub mod cluster;
pub mod https;
pub mod load;
pub mod netns;
pub mod pki;
pub mod process;
pub mod recorder;
pub mod systemd;

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long a test waits for something that should come at once: enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `check` gives a value.
///
/// # Panics
/// When half a minute was not enough; says what was waited for.
#[track_caller]
pub fn eventually<T>(what: impl Fn() -> String, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file or folder under the repository's `testdata`.
#[must_use]
pub fn testdata(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata")).join(path)
}

/// Says on standard error that a test is skipped, and why. Past the test harness, which shows nothing of a test that
/// passes.
pub fn skipped(test: &str, why: &str) {
    // In one piece: the harness writes in between.
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
