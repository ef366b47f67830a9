//! The program's life: start among others, cycles, then the cleanup if it is wanted.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use common::{
    shutdown::Signals,
    version::version,
    zpages::{self, Subject},
};
use tokio::sync::Notify;

use crate::{
    cli::{self, Config},
    conflict::{self, Question},
    daemon::{Keeper, Stop},
    handover::{claim::Kind, kept_by_others, lock::Lock, place::Place},
    reconcile::{Addresses, Part, Problems, RuleSet, ToRemove},
    status::Status,
    wanted::Wanted,
};

/// How long another instance is waited for. With the end of a cycle before it and a cleanup after it, this is to fit
/// into Kubernetes' usual grace period of 30 s.
const LOCK_TIME: Duration = Duration::from_secs(5);
/// Rules come before addresses, but a node without its address reaches no API server at all: so it does not wait longer.
const HEAD_START: Duration = Duration::from_secs(1);

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
    let place = Place::new(wanted);
    let stop = Stop::default();
    let interval = config.sync_interval;
    let listen = config.daemon;
    let mut rules = (!wanted.rules.is_empty()).then(|| {
        RuleSet::new(&wanted.rules, config.rules_backend, listen, interval.0, Arc::clone(&stop.flag))
    });
    let mut addresses = Addresses::new(wanted.clone(), config.adopt, listen, interval.0, place.id());
    let parts = std::iter::once(Addresses::NAME).chain(rules.as_ref().map(|_| RuleSet::NAME));
    let status = Arc::new(Status::new(parts));
    if config.daemon {
        serve(config, &status);
    }
    // Whoever is leaving takes nothing away between our announcement and the end of our first cycles.
    let lock = tokio::select! {
        lock = take_lock() => Rc::new(lock),
        // Nothing was touched yet.
        signal = signals.next() => {
            tracing::info!(signal, "stopping before the start");
            return Ok(());
        }
    };
    let started = Notify::new();
    let outcome = {
        let rules_lock = Rc::clone(&lock);
        let keep_rules = async {
            let mut failed = Ok(());
            if let Some(rules) = &mut rules {
                let mut keeper = Keeper::new(rules, &status, interval);
                if config.daemon {
                    keeper.cycle(None).await;
                    place.decided(keeper.part().kind());
                    started.notify_one();
                    drop(rules_lock);
                    keeper.keep(&stop).await;
                } else {
                    failed = until_in_place(keeper).await;
                }
            }
            started.notify_one();
            failed
        };
        let keep_addresses = async {
            let _ = tokio::time::timeout(HEAD_START, started.notified()).await;
            if stop.is_set() {
                return Ok(());
            }
            let mut keeper = Keeper::new(&mut addresses, &status, interval);
            if !config.daemon {
                return until_in_place(keeper).await;
            }
            keeper.cycle(None).await;
            drop(lock);
            tokio::spawn(conflict::watch::watch(Question::about(wanted), Arc::clone(&status)));
            keeper.keep(&stop).await;
            Ok(())
        };
        let parts = async {
            let (rules, addresses) = tokio::join!(keep_rules, keep_addresses);
            Problems::both(rules, addresses)
        };
        let stopped = async {
            if config.daemon {
                tokio::select! {
                    signal = signals.next() => tracing::info!(signal, "stopping"),
                    () = place.keep() => {}
                }
                status.stopping();
                stop.set();
            }
        };
        // A cycle ends with what it is at; no program is left running.
        tokio::join!(parts, stopped).0
    };
    let cycles = outcome.map_err(Failed::OneShot);
    // From here on signals are caught and not looked at: no half cleanup.
    let cleanup =
        if config.cleanup { cleanup(&mut addresses, rules.as_mut(), wanted, place).await } else { Ok(()) };
    // Both are worth a line; the exit code is the same.
    if let (Err(first), Err(_)) = (&cycles, &cleanup) {
        tracing::error!("{first}");
        return cleanup;
    }
    if cycles.is_ok() && !config.daemon {
        tracing::info!(changes = status.changes(), "in place");
    }
    cycles.and(cleanup)
}

/// Answers whoever asks how it goes, on the port and the socket that were asked for.
fn serve(config: &Config, status: &Arc<Status>) {
    let router = zpages::router(cli::PROGRAM.name, &config.flagz, Arc::clone(status) as Arc<dyn Subject>);
    if let Some(address) = &config.health_address {
        tokio::spawn(zpages::serve_tcp(address.clone(), router.clone()));
    }
    if let Some(path) = &config.probe_socket {
        tokio::spawn(zpages::serve_unix(path.clone(), router));
    }
}

/// Takes everything away that no other instance on this node wants, addresses first.
async fn cleanup(
    addresses: &mut Addresses,
    mut rules: Option<&mut RuleSet>,
    wanted: &Wanted,
    place: Place<'_>,
) -> Result<(), Failed> {
    tracing::info!("cleaning up");
    let kind = rules.as_ref().and_then(|rules| rules.kind());
    // Ours goes first: of two that leave at once, each would otherwise leave everything to the other.
    let id = place.withdraw();
    let _lock = take_lock().await;
    let kept = kept_by_others(id);
    let going = ToRemove::all_but(&kept, wanted);
    let of_addresses = addresses.cleanup(&going, &kept).await;
    let of_rules = match &mut rules {
        Some(rules) => rules.cleanup(&going).await,
        None => Ok(()),
    };
    Problems::both(of_addresses, of_rules).map_err(Failed::Cleanup)?;
    if kept.is_nothing() {
        tracing::info!("cleaned up, nothing of ours is left");
        return Ok(());
    }
    let rules = match kind {
        Some(Kind::Nftables) if going.table => wanted.rules.len(),
        Some(Kind::Nftables) => 0,
        _ => going.rules.len(),
    };
    let addresses = going.addresses.len();
    tracing::info!(addresses, rules, "cleaned up; the rest is another instance's on this node, and stays");
    Ok(())
}

/// One cycle, and another one if something was taken away meanwhile; the second time that is a problem.
async fn until_in_place<P: Part>(mut keeper: Keeper<'_, P>) -> Result<(), Problems> {
    loop {
        let outcome = keeper.once().await;
        if outcome.held.is_none() || !outcome.problems.is_empty() {
            return outcome.problems.into_result();
        }
    }
}

async fn take_lock() -> Option<Lock> {
    Lock::take(LOCK_TIME)
        .await
        .inspect_err(|error| tracing::warn!(%error, "going on without the lock between instances"))
        .ok()
}
