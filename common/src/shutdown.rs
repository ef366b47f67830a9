//! SIGTERM and SIGINT, as Kubernetes and people send them.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals that ask a program to stop.
///
/// From [`Signals::install`] on, neither ends the process by itself, also while nobody waits on
/// [`Signals::next`]: work that must not be cut (a cleanup) simply does not look.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over both signals. Must be called within a runtime.
    ///
    /// # Errors
    /// When the handlers can't be registered.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them and says its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
