//! The program's life: cycles until a signal, then the cleanup if it is wanted.

use std::{io, time::Duration};

use common::{duration::GoDuration, shutdown::Signals, version::version};

use crate::{
    backoff::Backoff,
    cli::Config,
    reconcile::{Problems, Reconciler},
};

/// However short the sync interval is, the node has other work to do.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Why the program ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The runtime or the signal handlers could not be set up.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// `--daemon=false`, and not everything is in place.
    #[error("not in place: {0}")]
    OneShot(#[source] Problems),
    /// `--cleanup`, and something is left.
    #[error("cleanup left something behind: {0}")]
    Cleanup(#[source] Problems),
}

/// Runs until a signal comes, or with `--daemon=false` for one cycle.
///
/// # Errors
/// [`Failed`], for exit code 1. A daemon whose cycles fail goes on trying and does not end.
pub async fn run(config: &Config) -> Result<(), Failed> {
    let mut signals = Signals::install().map_err(Failed::Runtime)?;
    let wanted = &config.wanted;
    let addresses: Vec<String> = wanted.addresses.iter().map(ToString::to_string).collect();
    tracing::info!(
        version = version(),
        addresses = addresses.join(","),
        interface = %wanted.interface,
        rules = wanted.rules.len(),
        cleanup = config.cleanup,
        "starting"
    );
    let mut reconciler = Reconciler::new(wanted.clone(), config.rules_backend);

    let cycles = if config.daemon {
        keep(&mut reconciler, config.sync_interval, &mut signals).await;
        Ok(())
    } else {
        reconciler.cycle().await.map(|changes| tracing::info!(changes, "in place")).map_err(Failed::OneShot)
    };
    // From here on signals are caught and not looked at: no half cleanup.
    let cleanup = if config.cleanup {
        tracing::info!("cleaning up");
        reconciler.cleanup().await.map_err(Failed::Cleanup)
    } else {
        Ok(())
    };
    if config.cleanup && cleanup.is_ok() {
        tracing::info!("cleaned up, nothing of ours is left");
    }
    // Both are worth a line; the exit code is the same.
    if let (Err(first), Err(_)) = (&cycles, &cleanup) {
        tracing::error!("{first}");
        return cleanup;
    }
    cycles.and(cleanup)
}

/// Cycles until a signal. A cycle that runs is never cut: a program started by it would go on by itself.
async fn keep(reconciler: &mut Reconciler, interval: GoDuration, signals: &mut Signals) {
    let mut backoff = Backoff::new(interval.0);
    let mut failures: u32 = 0;
    let mut settled = false;
    loop {
        let wait: Duration = match reconciler.cycle().await {
            Ok(changes) => {
                match (settled, failures, changes) {
                    (false, ..) => tracing::info!(changes, sync_interval = %interval, "in place, watching"),
                    (true, 1.., _) => tracing::info!(failures, "in place again after failures"),
                    (true, 0, 0) => tracing::debug!("in place, nothing to do"),
                    (true, 0, _) => tracing::warn!(changes, "something had been taken away and is back"),
                }
                (settled, failures) = (true, 0);
                backoff.succeeded();
                interval.0.max(SHORTEST_INTERVAL)
            }
            Err(problems) => {
                failures = failures.saturating_add(1);
                let wait = backoff.failed();
                tracing::error!(retry_in = %GoDuration(wait), "not in place: {problems}");
                wait
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                return;
            }
        }
    }
}
