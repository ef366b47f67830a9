//! Cycles until a signal: once an interval, and as soon as an event says that something may be missing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{duration::GoDuration, shutdown::Signals};
use tokio::time::sleep_until;

use crate::{
    backoff::Backoff,
    contention::Bucket,
    handover::claim::Kind,
    reconcile::{Outcome, Reconciler, Scope},
    status::Status,
};

/// However short the sync interval is, the node has other work to do.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Cycles for nothing that events may cause at once, and each second.
const VAIN_CYCLES: f64 = 20.0;
const VAIN_CYCLES_PER_SECOND: f64 = 10.0;
/// How long events are gathered once there were too many.
const GATHERING: Duration = Duration::from_millis(100);
/// A failure that goes on is told again after that time.
const REMINDER: Duration = Duration::from_secs(300);

/// Keeps everything in place.
#[derive(Debug)]
pub struct Keeper<'a> {
    reconciler: &'a mut Reconciler,
    status: Arc<Status>,
    interval: GoDuration,
    /// The next cycle, if nothing happens before.
    next: Instant,
    backoff: Backoff,
    /// Cycles in a row that failed.
    failures: u32,
    /// All was in place once.
    settled: bool,
    /// What is missing has been so since then.
    broken_since: Option<Instant>,
    /// What failed, and when that was told.
    told: Option<(String, Instant)>,
    /// Cycles that events asked for, and that found nothing to do.
    vain: Bucket,
}

impl<'a> Keeper<'a> {
    /// With the time between two cycles when nothing happens.
    #[must_use]
    pub fn new(reconciler: &'a mut Reconciler, status: Arc<Status>, interval: GoDuration) -> Self {
        Self {
            reconciler,
            status,
            interval,
            next: Instant::now(),
            backoff: Backoff::new(interval.0),
            failures: 0,
            settled: false,
            broken_since: None,
            told: None,
            vain: Bucket::new(VAIN_CYCLES_PER_SECOND),
        }
    }

    /// The first cycle.
    pub async fn begin(&mut self) {
        self.next = Instant::now() + self.cycle(Scope::ALL, None).await;
    }

    /// The kind of backend that keeps the rules, once it is known.
    #[must_use]
    pub fn rules_kind(&self) -> Option<Kind> {
        self.reconciler.rules().kind()
    }

    /// Runs cycles until a signal comes, and returns its name. A cycle that runs is never cut: a program started by it
    /// would go on by itself.
    pub async fn keep(&mut self, signals: &mut Signals) -> &'static str {
        loop {
            let woken = tokio::select! {
                biased;
                signal = signals.next() => return signal,
                // Before events: however many there are, polling goes on.
                () = sleep_until(self.next.into()) => None,
                dirt = self.reconciler.dirt() => Some(dirt),
            };
            let event = woken.map(|_| Instant::now());
            if event.is_some() && self.vain.level(Instant::now()) > VAIN_CYCLES {
                tokio::time::sleep(GATHERING).await;
            }
            // While something is wrong, everything is looked at, so that the verdict is about everything.
            let scope =
                woken.filter(|_| self.failures == 0 && self.broken_since.is_none()).unwrap_or(Scope::ALL);
            let wait = self.cycle(scope, event).await;
            if scope == Scope::ALL || wait < self.interval.0 {
                self.next = Instant::now() + wait;
            }
        }
    }

    /// One cycle, and how long to wait for the next if nothing happens meanwhile.
    async fn cycle(&mut self, scope: Scope, event: Option<Instant>) -> Duration {
        let began = Instant::now();
        let outcome = self.reconciler.cycle(scope).await;
        let now = Instant::now();
        self.status.cycle(&outcome, now - began, self.reconciler);
        if event.is_some() && outcome.changes.sum() == 0 {
            self.vain.add(now);
        }
        if self.settled && (outcome.drift.sum() > 0 || !outcome.is_in_place()) {
            self.broken_since.get_or_insert(event.unwrap_or(began));
        }
        if outcome.is_in_place() {
            self.in_place(&outcome, now);
            return self.interval.0.max(SHORTEST_INTERVAL);
        }
        if outcome.problems.is_empty() {
            return outcome.held.unwrap_or(SHORTEST_INTERVAL);
        }
        self.failures = self.failures.saturating_add(1);
        let wait = self.backoff.failed();
        self.tell_failure(&outcome, wait, now);
        wait
    }

    fn in_place(&mut self, outcome: &Outcome, now: Instant) {
        let broken = self.broken_since.take().map(|since| now - since);
        let (drift, fights) = (outcome.drift, self.reconciler.contended());
        match (self.settled, self.failures) {
            (false, _) => {
                let changes = outcome.changes.sum();
                tracing::info!(changes, sync_interval = %self.interval, "in place, watching");
            }
            (true, 1..) => tracing::info!(failures = self.failures, "in place again after failures"),
            (true, 0) if drift.sum() == 0 => tracing::debug!("in place, nothing to do"),
            // Told as a whole already.
            (true, 0) if fights != (false, false) => tracing::debug!(?drift, "taken away again, and back"),
            (true, 0) => {
                let after = GoDuration(broken.unwrap_or_default());
                let (addresses, rules, links) = (drift.addresses, drift.rules, drift.links);
                tracing::warn!(addresses, rules, links, %after, "something had been taken away and is back");
            }
        }
        if let Some(broken) = broken {
            self.status.metrics().healed(broken);
        }
        (self.settled, self.failures, self.told) = (true, 0, None);
        self.backoff.succeeded();
    }

    /// One line for each failure, and not for each try.
    fn tell_failure(&mut self, outcome: &Outcome, wait: Duration, now: Instant) {
        let problem = outcome.problems.to_string();
        let retry_in = GoDuration(wait);
        match &self.told {
            Some((told, at)) if *told == problem && now - *at < REMINDER => {
                tracing::debug!(%retry_in, "still not in place: {problem}");
            }
            _ => {
                tracing::error!(%retry_in, "not in place: {problem}");
                self.told = Some((problem, now));
            }
        }
    }
}
