//! The program's life: start among others, cycles, then the cleanup if it is wanted.

use std::{io, sync::Arc};

use common::{shutdown::Signals, version::version};

use crate::{
    cli::Config,
    daemon::Keeper,
    reconcile::{Problems, Reconciler, Scope, ToRemove},
    status::Status,
};

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
    let mut reconciler =
        Reconciler::new(wanted.clone(), config.rules_backend, config.adopt, config.sync_interval.0);
    let status = Arc::new(Status::new());
    let cycles = if config.daemon {
        reconciler.listen();
        let signal =
            Keeper::new(&mut reconciler, Arc::clone(&status), config.sync_interval).keep(&mut signals).await;
        tracing::info!(signal, "stopping");
        status.stopping();
        Ok(())
    } else {
        one_shot(&mut reconciler).await
    };
    // From here on signals are caught and not looked at: no half cleanup.
    let cleanup = if config.cleanup {
        tracing::info!("cleaning up");
        let all = ToRemove { addresses: wanted.addresses.clone(), rules: wanted.rules.clone(), device: true };
        reconciler.cleanup(&all).await.map_err(Failed::Cleanup)
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

async fn one_shot(reconciler: &mut Reconciler) -> Result<(), Failed> {
    let outcome = reconciler.cycle(Scope::ALL).await;
    if !outcome.is_in_place() {
        return Err(Failed::OneShot(outcome.problems));
    }
    tracing::info!(changes = outcome.changes.sum(), "in place");
    Ok(())
}
