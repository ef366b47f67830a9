//! The program's life: start among others, cycles, then the cleanup if it is wanted.

use std::{io, sync::Arc, time::Duration};

use common::{
    shutdown::Signals,
    version::version,
    zpages::{self, Subject},
};

use crate::{
    cli::{self, Config},
    conflict::{self, Question},
    daemon::Keeper,
    handover::{
        announce::Announcement,
        claim::{Claims, InstanceId, Kind, Rules},
        kept_by_others,
        lock::Lock,
    },
    reconcile::{Problems, Reconciler, Scope, ToRemove},
    status::Status,
    wanted::Wanted,
};

/// How long another instance is waited for. With a cleanup after it, this is to fit into Kubernetes' usual grace
/// period of 30 s.
const LOCK_TIME: Duration = Duration::from_secs(10);

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
    let mut place = Place::announce(wanted);
    let mut reconciler = Reconciler::new(
        wanted.clone(),
        config.rules_backend,
        config.adopt,
        config.sync_interval.0,
        place.id(),
    );
    let status = Arc::new(Status::new(&wanted.interface));
    if config.daemon {
        serve(config, &status);
    }
    // Whoever is leaving takes nothing away between our first look and our announcement.
    let lock = take_lock().await;
    let cycles = if config.daemon {
        reconciler.listen();
        let mut keeper = Keeper::new(&mut reconciler, Arc::clone(&status), config.sync_interval);
        keeper.begin().await;
        place.decided(wanted, keeper.rules_kind());
        drop(lock);
        tokio::spawn(conflict::watch::watch(Question::about(wanted), Arc::clone(&status)));
        let signal = keeper.keep(&mut signals).await;
        tracing::info!(signal, "stopping");
        status.stopping();
        Ok(())
    } else {
        let outcome = one_shot(&mut reconciler).await;
        drop(lock);
        outcome
    };
    // From here on signals are caught and not looked at: no half cleanup.
    let cleanup = if config.cleanup { cleanup(&mut reconciler, wanted, place).await } else { Ok(()) };
    // Both are worth a line; the exit code is the same.
    if let (Err(first), Err(_)) = (&cycles, &cleanup) {
        tracing::error!("{first}");
        return cleanup;
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

async fn one_shot(reconciler: &mut Reconciler) -> Result<(), Failed> {
    let mut changes = 0;
    loop {
        let outcome = reconciler.cycle(Scope::ALL).await;
        changes += outcome.changes.sum();
        if !outcome.problems.is_empty() {
            return Err(Failed::OneShot(outcome.problems));
        }
        if outcome.is_in_place() {
            tracing::info!(changes, "in place");
            return Ok(());
        }
        // Something was taken away meanwhile; the second time that is a problem.
    }
}

/// Takes everything away that no other instance on this node wants.
async fn cleanup(reconciler: &mut Reconciler, wanted: &Wanted, place: Place) -> Result<(), Failed> {
    tracing::info!("cleaning up");
    // Ours goes first: of two that leave at once, each would otherwise leave everything to the other.
    let id = place.withdraw();
    let _lock = take_lock().await;
    let kept = kept_by_others(id);
    let going = ToRemove::all_but(&kept, wanted);
    reconciler.cleanup(&going).await.map_err(Failed::Cleanup)?;
    if kept.is_nothing() {
        tracing::info!("cleaned up, nothing of ours is left");
    } else {
        let addresses = going.addresses.len();
        let rules = match reconciler.rules().kind() {
            Some(Kind::Nftables) if going.table => wanted.rules.len(),
            Some(Kind::Nftables) => 0,
            _ => going.rules.len(),
        };
        tracing::info!(
            addresses,
            rules,
            "cleaned up; the rest is another instance's on this node, and stays"
        );
    }
    Ok(())
}

/// Our place among the instances on this node.
#[derive(Debug)]
struct Place(Option<Announcement>);

impl Place {
    fn announce(wanted: &Wanted) -> Self {
        let rules = if wanted.rules.is_empty() { Rules::None } else { Rules::Undecided };
        Self(
            Announcement::publish(&claims(wanted, rules))
                .inspect_err(|error| tracing::warn!(%error, "going on without"))
                .ok(),
        )
    }

    /// It is known now where the rules are kept.
    fn decided(&mut self, wanted: &Wanted, kind: Option<Kind>) {
        if let (Some(announcement), Some(kind)) = (&mut self.0, kind)
            && !wanted.rules.is_empty()
            && let Err(error) = announcement.replace(&claims(wanted, Rules::In(kind)))
        {
            tracing::warn!(%error, "going on without");
        }
    }

    fn id(&self) -> InstanceId {
        self.0.as_ref().map_or_else(InstanceId::random, Announcement::id)
    }

    fn withdraw(self) -> InstanceId {
        self.0.map_or_else(InstanceId::random, Announcement::withdraw)
    }
}

fn claims(wanted: &Wanted, rules: Rules) -> Claims {
    let addresses = wanted.addresses.iter().copied().collect();
    Claims { interface: wanted.interface.clone(), addresses, port: wanted.port, rules }
}

async fn take_lock() -> Option<Lock> {
    Lock::take(LOCK_TIME)
        .await
        .inspect_err(|error| tracing::warn!(%error, "going on without the lock between instances"))
        .ok()
}
