//! What the program knows about itself, for whoever asks while it runs.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::zpages::{Check, Subject};

use crate::{
    metrics::Metrics,
    reconcile::{Counts, Outcome, Reconciler},
    wanted::InterfaceName,
};

/// Shared between the cycles and those who ask.
#[derive(Debug)]
pub struct Status {
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the last cycle saw is what is wanted.
    in_place: bool,
    /// Why not.
    problem: String,
    stopping: bool,
    interface: String,
    desired: Counts,
    observed: Counts,
    backend: String,
    conflicts: Vec<String>,
}

impl Status {
    /// Nothing is known yet, so nothing is in place.
    #[must_use]
    pub fn new(interface: &InterfaceName) -> Self {
        let problem = "the first cycle has not ended yet".to_owned();
        let state = State { problem, interface: interface.to_string(), ..State::default() };
        Self { metrics: Metrics::new(), state: Mutex::new(state) }
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes note of one cycle.
    pub fn cycle(&self, outcome: &Outcome, took: Duration, reconciler: &Reconciler) {
        let (desired, observed) = (reconciler.desired(), reconciler.observed());
        self.metrics.cycle(outcome, took, desired, observed);
        self.metrics.contended(reconciler.contended());
        let mut state = self.state();
        state.in_place = outcome.is_in_place();
        state.problem = match (outcome.problems.is_empty(), outcome.held) {
            (true, None) => String::new(),
            (true, Some(_)) => {
                "something is missing, and held back while somebody takes it away again and again".to_owned()
            }
            (false, _) => outcome.problems.to_string(),
        };
        (state.desired, state.observed) = (desired, observed);
        state.backend = match desired.rules {
            0 => "none: no rules are wanted".to_owned(),
            _ => reconciler.rules().describe(),
        };
        if state.in_place {
            self.metrics.in_place();
        }
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

impl Subject for Status {
    fn checks(&self) -> Vec<Check> {
        let state = self.state();
        let in_place = match (state.stopping, state.in_place) {
            (true, _) => Check::failed("in-place", "the program is stopping"),
            (false, true) => Check::ok("in-place", ""),
            (false, false) => Check::failed("in-place", state.problem.clone()),
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
        let last = match (state.in_place, state.problem.as_str()) {
            (true, _) => "in place".to_owned(),
            (false, problem) => format!("not in place: {problem}"),
        };
        let mut lines = vec![
            ("Last cycle", last),
            ("Interface", state.interface.clone()),
            ("Addresses", of(state.observed.addresses, state.desired.addresses)),
            ("Rules", of(state.observed.rules, state.desired.rules)),
            ("Rules backend", state.backend.clone()),
        ];
        lines.extend(state.conflicts.iter().map(|conflict| ("DNAT conflict", conflict.clone())));
        lines
    }
}
