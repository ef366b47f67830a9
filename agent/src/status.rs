//! What the program knows about itself, for whoever asks while it runs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use common::zpages::{Check, Subject};

use crate::{
    metrics::Metrics,
    reconcile::{Counts, Outcome, Part},
};

/// Shared between the cycles and those who ask.
#[derive(Debug)]
pub struct Status {
    began: Instant,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    parts: BTreeMap<&'static str, PartState>,
    /// All parts were in place once.
    settled: bool,
    stopping: bool,
    conflicts: Vec<String>,
}

#[derive(Debug, Default)]
struct PartState {
    /// Why what the last cycle saw is not what is wanted; empty where it is.
    problem: String,
    /// Changes made until it was in place for the first time.
    first_changes: usize,
    desired: Counts,
    observed: Counts,
    kept_by: String,
}

impl Status {
    /// Nothing is known of these parts yet, so nothing is in place.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = &'static str>) -> Self {
        let unknown =
            || PartState { problem: "the first cycle has not ended yet".to_owned(), ..PartState::default() };
        let parts = parts.into_iter().map(|name| (name, unknown())).collect();
        Self {
            began: Instant::now(),
            metrics: Metrics::new(),
            state: Mutex::new(State { parts, ..State::default() }),
        }
    }

    /// When the program began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes note of one cycle. The first time that all parts are in place, says how many changes that took.
    pub fn cycle<P: Part>(&self, outcome: &Outcome, took: Duration, part: &P) -> Option<usize> {
        let mut state = self.state();
        let first = !state.settled;
        let of_part = state.parts.entry(P::NAME).or_default();
        of_part.problem = match (outcome.problems.is_empty(), outcome.held) {
            (true, None) => String::new(),
            (true, Some(_)) => {
                "something is missing, and held back while somebody takes it away again and again".to_owned()
            }
            (false, _) => outcome.problems.to_string(),
        };
        if first {
            of_part.first_changes += outcome.changes.sum();
        }
        (of_part.desired, of_part.observed) = (part.desired(), part.observed());
        of_part.kept_by = part.describe();
        self.metrics.cycle(outcome, took, state.sum(|part| part.desired), state.sum(|part| part.observed));
        self.metrics.contended(P::NAME, part.is_contended());
        let in_place = state.problems().next().is_none();
        if in_place {
            self.metrics.in_place();
        }
        state.settled |= in_place;
        (first && in_place).then(|| state.first_changes())
    }

    /// Changes made until all was in place.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.state().first_changes()
    }

    /// The program is about to end.
    pub fn stopping(&self) {
        self.state().stopping = true;
    }

    /// How many addresses DNAT is in the way of, and where, one line each.
    pub fn set_conflicts(&self, addresses: usize, conflicts: Vec<String>) {
        self.metrics.set_dnat_conflicts(addresses);
        self.state().conflicts = conflicts;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn problems(&self) -> impl Iterator<Item = &str> {
        self.parts.values().map(|part| part.problem.as_str()).filter(|problem| !problem.is_empty())
    }

    fn first_changes(&self) -> usize {
        self.parts.values().map(|part| part.first_changes).sum()
    }

    fn problem(&self) -> String {
        self.problems().collect::<Vec<_>>().join(" | ")
    }

    fn sum(&self, of: fn(&PartState) -> Counts) -> Counts {
        self.parts.values().map(of).fold(Counts::default(), |sum, counts| Counts {
            addresses: sum.addresses + counts.addresses,
            rules: sum.rules + counts.rules,
            links: sum.links + counts.links,
        })
    }
}

impl Subject for Status {
    fn checks(&self) -> Vec<Check> {
        let state = self.state();
        let in_place = match (state.stopping, state.problem()) {
            (true, _) => Check::failed("in-place", "the program is stopping"),
            (false, problem) if problem.is_empty() => Check::ok("in-place", ""),
            (false, problem) => Check::failed("in-place", problem),
        };
        // Whether it hurts depends on who connects through what; so it is told, and nothing is taken out of service.
        let conflicts = state.conflicts.iter().map(|conflict| Check::note("dnat-conflict", conflict.clone()));
        std::iter::once(in_place).chain(conflicts).collect()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let of = |observed: usize, desired: usize| format!("{observed} of {desired}");
        let last = match state.problem() {
            problem if problem.is_empty() => "in place".to_owned(),
            problem => format!("not in place: {problem}"),
        };
        let (desired, observed) = (state.sum(|part| part.desired), state.sum(|part| part.observed));
        let kept_by =
            |name| state.parts.get(name).map_or("none are wanted".to_owned(), |part| part.kept_by.clone());
        let mut lines = vec![
            ("Last cycle", last),
            ("Addresses", of(observed.addresses, desired.addresses)),
            ("Addresses are on", kept_by("addresses")),
            ("Rules", of(observed.rules, desired.rules)),
            ("Rules backend", kept_by("rules")),
        ];
        lines.extend(state.conflicts.iter().map(|conflict| ("DNAT conflict", conflict.clone())));
        lines
    }
}
