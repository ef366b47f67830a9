//! Rounds for as long as the program runs: once an interval, and as soon as an event says that something may have
//! changed.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    backoff::Backoff,
    contention::{Bucket, Told},
    duration::GoDuration,
    shutdown::Signals,
    zpages::{self, Subject},
};

use super::{
    cli::Options,
    error::FileError,
    keep::Keeper,
    outcome::{Outcome, Reach},
    source::{Look, Source},
    status::Status,
    tree::Tree,
    watch::Watch,
};
use crate::cli::PROGRAM;

/// However short the sync interval is, the node has other work to do.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Events are gathered for so long, so that many of them cost little.
const GATHERING: Duration = Duration::from_millis(50);
/// Likewise, once there were many that changed nothing.
const LONG_GATHERING: Duration = Duration::from_secs(1);
/// Rounds for nothing that events may cause at once, and each second.
const VAIN_ROUNDS: f64 = 20.0;
const VAIN_ROUNDS_PER_SECOND: f64 = 1.0;
/// When a configuration that has changed is read for the second time.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// A failure that goes on is told again after that time.
const REMINDER: Duration = Duration::from_secs(300);

/// The daemon.
#[derive(Debug)]
struct Daemon {
    root: PathBuf,
    file: PathBuf,
    source: Source,
    keeper: Keeper,
    status: Arc<Status>,
    interval: Duration,
    restart: bool,
    backoff: Backoff,
    /// All was well the last time.
    well: bool,
    /// What is wrong, and when that was told.
    told: Option<(String, Instant)>,
    told_due: Vec<String>,
    told_watch: bool,
    /// Rounds that events asked for, and that found nothing to do.
    vain: Bucket,
    bad_config: Option<String>,
}

/// Runs until a signal comes. What fails is tried again; everything stays when it ends.
///
/// # Errors
/// When the signal handlers can't be set up.
pub async fn run(options: &Options, file: PathBuf, source: Source) -> std::io::Result<()> {
    let mut signals = Signals::install()?;
    let interval = options.interval.0.max(SHORTEST_INTERVAL);
    let mut daemon = Daemon {
        root: options.root.clone(),
        file,
        source,
        keeper: Keeper::new(options.restart, options.jitter.0, interval),
        status: Arc::default(),
        interval,
        restart: options.restart,
        backoff: Backoff::new(interval),
        well: false,
        told: None,
        told_due: Vec::new(),
        told_watch: false,
        vain: Bucket::new(VAIN_ROUNDS_PER_SECOND),
        bad_config: None,
    };
    serve(options, &daemon.status);
    let signal = tokio::select! {
        biased;
        signal = signals.next() => signal,
        () = daemon.keep() => "nothing",
    };
    daemon.status.stopping();
    tracing::info!(signal, "stopping, everything stays as it is");
    Ok(())
}

/// Answers whoever asks how it goes, on the port and the socket that were asked for.
fn serve(options: &Options, status: &Arc<Status>) {
    let router = zpages::router(PROGRAM.name, &options.flagz, Arc::clone(status) as Arc<dyn Subject>);
    if let Some(address) = &options.health_address {
        tokio::spawn(zpages::serve_tcp(address.clone(), router.clone()));
    }
    if let Some(path) = &options.probe_socket {
        tokio::spawn(zpages::serve_unix(path.clone(), router));
    }
}

/// The next event; never where nothing can be watched.
async fn event_of(watch: Option<Watch>) {
    match watch {
        Some(mut watch) => watch.event().await,
        None => std::future::pending().await,
    }
}

impl Daemon {
    async fn keep(&mut self) {
        let mut event = false;
        loop {
            let tree = Tree::open(&self.root);
            // Before anything is looked at, so that nothing is missed.
            let watch = self.watch(tree.as_ref().ok());
            let second_look = self.look_at_config();
            let outcome = self.round(tree).await;
            if event && outcome.written == 0 {
                self.vain.add(Instant::now());
            }
            let mut wait = outcome.again.unwrap_or(self.interval).min(self.interval);
            if second_look {
                wait = wait.min(SECOND_LOOK);
            }
            if let Some(retry) = self.tell(&outcome) {
                wait = wait.min(retry);
            }
            // Past the shortest interval, whatever asked for it.
            tokio::time::sleep(SHORTEST_INTERVAL).await;
            event = tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => false,
                () = event_of(watch) => true,
            };
            if event {
                let vain = self.vain.level(Instant::now()) > VAIN_ROUNDS;
                tokio::time::sleep(if vain { LONG_GATHERING } else { GATHERING }).await;
            }
        }
    }

    async fn round(&mut self, tree: Result<Tree, FileError>) -> Outcome {
        let wanted = self.source.wanted().clone();
        match tree {
            Ok(tree) => self.keeper.round(&tree, &wanted).await,
            Err(error) => {
                let problem = Some(error.to_string());
                let files = wanted.units.iter().map(|unit| (unit.clone(), problem.clone())).collect();
                Outcome { files, ..Outcome::default() }
            }
        }
    }

    fn watch(&mut self, tree: Option<&Tree>) -> Option<Watch> {
        match Watch::new(tree, &self.source.wanted().units, &self.file) {
            Ok(watch) => {
                self.told_watch = false;
                Some(watch)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told_watch, true) {
                    tracing::warn!(
                        "no events about files, they are looked at every {}: {error}; see fs.inotify in sysctl(8)",
                        GoDuration(self.interval)
                    );
                }
                None
            }
        }
    }

    /// Whether a second look is wanted soon: at what may still be written, or at what is to be watched from now on.
    fn look_at_config(&mut self) -> bool {
        let mut soon = false;
        match self.source.look() {
            Look::Unsure => return true,
            Look::Same => {}
            Look::New(gone) => {
                soon = true;
                tracing::info!(file = %self.file.display(), "the configuration has changed");
                for unit in gone {
                    tracing::warn!(
                        "{unit} is not named any more, its drop-in stays; to remove it: node-proxy --remove --units={unit}"
                    );
                }
            }
            Look::Bad(bad) => {
                let bad = format!("{bad}; the last good configuration stays in use");
                if self.bad_config.as_ref() != Some(&bad) {
                    tracing::error!("{bad}");
                    self.bad_config = Some(bad);
                }
                return false;
            }
        }
        if self.bad_config.take().is_some() {
            tracing::info!(file = %self.file.display(), "the configuration is well again");
        }
        soon
    }

    /// Notes what came of a round, and says what is new. Returns when to try again if something is wrong.
    fn tell(&mut self, outcome: &Outcome) -> Option<Duration> {
        match self.keeper.fights().change(Instant::now()) {
            Some(Told::Begins) => tracing::warn!(
                "somebody changes drop-ins again and again; they are put back less and less often, find out who"
            ),
            Some(Told::Ends) => tracing::info!("nobody changes drop-ins any more"),
            None => {}
        }
        if outcome.due != self.told_due {
            if !outcome.due.is_empty() && !self.restart {
                super::tell_due(&outcome.due);
            }
            self.told_due.clone_from(&outcome.due);
        }
        let problem = self.status.round(outcome, self.bad_config.clone());
        let of_round = outcome
            .problem()
            .or_else(|| (outcome.systemd == Reach::Absent).then(|| super::status::NO_SYSTEMD.to_owned()));
        let Some(of_round) = of_round else {
            if problem.is_none() && !std::mem::replace(&mut self.well, true) {
                let interval = GoDuration(self.interval);
                tracing::info!(sync_interval = %interval, units = self.source.wanted().units.join(","), "in place, watching");
            }
            self.told = None;
            self.backoff.succeeded();
            return None;
        };
        self.well = false;
        let wait = if outcome.held { self.interval } else { self.backoff.failed() };
        let now = Instant::now();
        match &self.told {
            Some((told, at)) if *told == of_round && now - *at < REMINDER => {
                tracing::debug!(retry_in = %GoDuration(wait), "still not in place: {of_round}");
            }
            _ if outcome.systemd == Reach::Absent && outcome.problem().is_none() => {
                tracing::warn!("{of_round}");
                self.told = Some((of_round, now));
            }
            _ => {
                tracing::error!(retry_in = %GoDuration(wait), "not in place: {of_round}");
                self.told = Some((of_round, now));
            }
        }
        Some(wait)
    }
}
