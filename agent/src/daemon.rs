//! Cycles of one part, for as long as the program runs: once an interval, and as soon as an event says that something
//! may be missing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::{backoff::Backoff, contention::Bucket, duration::GoDuration};
use tokio::{sync::Notify, time::sleep_until};

use crate::{
    reconcile::{Outcome, Part},
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

/// That the program is to end, told to whoever is at work.
#[derive(Debug, Default)]
pub struct Stop {
    /// For what looks now and then.
    pub flag: Arc<AtomicBool>,
    wake: Notify,
}

impl Stop {
    /// Tells it.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.wake.notify_waiters();
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

/// Keeps one part in place.
#[derive(Debug)]
pub struct Keeper<'a, P> {
    part: &'a mut P,
    status: &'a Status,
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

impl<'a, P: Part> Keeper<'a, P> {
    /// With the time between two cycles when nothing happens.
    #[must_use]
    pub fn new(part: &'a mut P, status: &'a Status, interval: GoDuration) -> Self {
        Self {
            part,
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

    /// The part that is kept.
    #[must_use]
    pub fn part(&self) -> &P {
        self.part
    }

    /// Runs cycles until told to stop. A cycle that runs is never cut: a program started by it would go on by itself.
    pub async fn keep(&mut self, stop: &Stop) {
        while !stop.is_set() {
            let event = tokio::select! {
                biased;
                () = stop.wake.notified() => return,
                // Before events: however many there are, polling goes on.
                () = sleep_until(self.next.into()) => None,
                () = self.part.event() => Some(Instant::now()),
            };
            if event.is_some() && self.vain.level(Instant::now()) > VAIN_CYCLES {
                tokio::time::sleep(GATHERING).await;
            }
            self.cycle(event).await;
        }
    }

    /// One cycle, for whoever does no more than that.
    pub async fn once(&mut self) -> Outcome {
        self.run().await.0
    }

    /// One cycle, noted in the status, which says the first time that all parts are in place.
    async fn run(&mut self) -> (Outcome, Option<usize>) {
        let began = Instant::now();
        let outcome = self.part.cycle().await;
        let all_in_place = self.status.cycle(&outcome, began.elapsed(), self.part);
        (outcome, all_in_place)
    }

    /// One cycle.
    pub async fn cycle(&mut self, event: Option<Instant>) {
        let began = Instant::now();
        let (outcome, all_in_place) = self.run().await;
        let now = Instant::now();
        if event.is_some() && outcome.changes.sum() == 0 {
            self.vain.add(now);
        }
        if self.settled && (outcome.drift.sum() > 0 || !outcome.is_in_place()) {
            self.broken_since.get_or_insert(event.unwrap_or(began));
        }
        let wait = if outcome.is_in_place() {
            self.in_place(&outcome, now);
            self.interval.0.max(SHORTEST_INTERVAL)
        } else if outcome.problems.is_empty() {
            outcome.held.unwrap_or_default().max(SHORTEST_INTERVAL)
        } else {
            self.failures = self.failures.saturating_add(1);
            let wait = self.backoff.failed();
            self.tell_failure(&outcome, wait, now);
            wait
        };
        self.next = self.moment(now, wait);
        if let Some(changes) = all_in_place {
            tracing::info!(changes, sync_interval = %self.interval, "in place, watching");
        }
    }

    /// When a wait ends. That for an interval ends at the same moment for all parts, which wakes the machine up once.
    fn moment(&self, now: Instant, wait: Duration) -> Instant {
        let since = now.duration_since(self.status.began());
        let into = since.as_nanos().checked_rem(wait.as_nanos()).unwrap_or_default();
        match u64::try_from(into) {
            Ok(into) if wait == self.interval.0 => now + wait - Duration::from_nanos(into),
            _ => now + wait,
        }
    }

    fn in_place(&mut self, outcome: &Outcome, now: Instant) {
        let broken = self.broken_since.take().map(|since| now - since);
        let drift = outcome.drift;
        match (self.settled, self.failures) {
            // The status knows when all of it is.
            (false, _) => {}
            (true, 1..) => {
                tracing::info!(part = P::NAME, failures = self.failures, "in place again after failures")
            }
            (true, 0) if drift.sum() == 0 => tracing::debug!(part = P::NAME, "in place, nothing to do"),
            // Told as a whole already.
            (true, 0) if self.part.is_contended() => tracing::debug!(?drift, "taken away again, and back"),
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
