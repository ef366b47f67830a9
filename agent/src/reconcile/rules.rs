//! The rules, in a cycle and in a cleanup.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::contention::Fights;

use super::{Counts, Outcome, Part, Problems, ToRemove, tell_fights};
use crate::{
    handover::claim::Kind,
    netlink::events::Events,
    rules::{Rule, backend::Rules, detect::Choice},
};

/// How often in a row a rule may be inserted and not seen. Somebody who deletes rules may come between the two, by chance
/// and more than once; that it is no chance is told then.
const CHANCES: u8 = 4;

/// The rules that are kept in place.
#[derive(Debug)]
pub struct RuleSet {
    wanted: Vec<Rule>,
    rules: Rules,
    /// Listen to events.
    listen: bool,
    events: Events,
    /// An event told of a change that was not looked at yet.
    dirty: bool,
    fights: Fights<Rule>,
    /// All was in place once, so that what is missing now was taken away.
    established: bool,
    observed: usize,
    /// Rules that were inserted by the last cycle that inserted any, and not seen afterwards: how often in a row.
    unseen: BTreeMap<Rule, u8>,
    /// The program is to end: no further change.
    stop: Arc<AtomicBool>,
}

impl RuleSet {
    /// Touches nothing yet. `interval` bounds how long somebody who fights back is given way to; once `stop` is set, a
    /// cycle ends with what it is at.
    #[must_use]
    pub fn new(
        wanted: &[Rule],
        choice: Choice,
        listen: bool,
        interval: Duration,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            wanted: wanted.to_vec(),
            rules: Rules::new(wanted, choice),
            listen,
            events: Events::none(),
            dirty: false,
            fights: Fights::new(interval),
            established: false,
            observed: 0,
            unseen: BTreeMap::new(),
            stop,
        }
    }

    /// The kind of the backend, once it is known.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.rules.kind()
    }

    /// Takes away what `going` says, and goes on after an error. What is gone already is success.
    ///
    /// # Errors
    /// When something of ours is left, or could not be looked for.
    pub async fn cleanup(&mut self, going: &ToRemove) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if (going.table || !going.rules.is_empty())
            && let Err(errors) = self.rules.delete_all(&going.rules, going.table).await
        {
            problems.add_all(errors);
        }
        problems.into_result()
    }

    fn drain(&mut self) {
        let (rules, dirty) = (&mut self.rules, &mut self.dirty);
        self.events.drain(|event| *dirty |= rules.note(&event));
    }

    async fn bring_up(&mut self, outcome: &mut Outcome) {
        match self.rules.choose().await {
            // Before the first look: what happens after it is not to be missed.
            Ok(true) if self.listen && self.rules.in_nf_tables() => self.events = Events::of_nft(),
            Ok(_) => {}
            Err(error) => {
                self.observed = 0;
                return outcome.problems.add(error);
            }
        }
        let looked = self.rules.look().await;
        let unknown = !looked.errors.is_empty();
        outcome.problems.add_all(looked.errors);
        self.observed = if unknown { 0 } else { self.wanted.len() - looked.missing.len() };
        let going_in = self.without_fights(&looked.missing, outcome);
        if going_in.is_empty() || self.is_stopping() {
            return;
        }
        let (made, errors) = self.rules.insert(&going_in, &self.stop).await;
        let failed = !errors.is_empty();
        outcome.problems.add_all(errors);
        outcome.changes.rules = made.len();
        if self.established {
            outcome.drift.rules = made.len();
            let now = Instant::now();
            made.iter().for_each(|rule| self.fights.healed(*rule, now));
        }
        if made.is_empty() {
            return;
        }
        let after = self.rules.look().await;
        self.observed = self.wanted.len() - after.missing.len();
        outcome.problems.add_all(after.errors);
        let unseen = std::mem::take(&mut self.unseen);
        for rule in after.missing.into_iter().filter(|_| !failed) {
            if looked.missing.contains(&rule) && !made.contains(&rule) {
                // Held back: told already.
                continue;
            }
            // Taken away meanwhile, perhaps: one more cycle, at once.
            outcome.hold(Duration::ZERO);
            if !made.contains(&rule) {
                continue;
            }
            // Perhaps it is there, in a form that is not recognised: it must not become more every time.
            let errors = self.rules.take_back(rule).await;
            let times = unseen.get(&rule).map_or(1, |times| times.saturating_add(1));
            if times >= CHANCES && !self.fights.is_on() {
                outcome.problems.add_all(errors);
            }
            self.unseen.insert(rule, times);
        }
    }

    /// Those that nobody fights over, or not just now. A table of our own is made whole or not at all.
    fn without_fights(&self, missing: &[Rule], outcome: &mut Outcome) -> Vec<Rule> {
        let now = Instant::now();
        let waits = missing.iter().map(|rule| self.fights.hold(rule, now)).collect::<Vec<_>>();
        if let Some(wait) = waits.iter().filter(|wait| !wait.is_zero()).min() {
            outcome.hold(*wait);
            if self.kind() == Some(Kind::Nftables) {
                return Vec::new();
            }
        }
        missing.iter().zip(waits).filter(|(_, wait)| wait.is_zero()).map(|(rule, _)| *rule).collect()
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Part for RuleSet {
    const NAME: &'static str = "rules";

    async fn cycle(&mut self) -> Outcome {
        self.drain();
        self.dirty = false;
        let mut outcome = Outcome::default();
        self.bring_up(&mut outcome).await;
        self.established |= outcome.is_in_place();
        tell_fights(Self::NAME, &mut self.fights);
        outcome
    }

    async fn event(&mut self) {
        while !self.dirty {
            self.events.wait().await;
            self.drain();
        }
    }

    fn desired(&self) -> Counts {
        Counts { rules: self.wanted.len(), ..Counts::default() }
    }

    fn observed(&self) -> Counts {
        Counts { rules: self.observed, ..Counts::default() }
    }

    fn is_contended(&self) -> bool {
        self.fights.is_on()
    }

    fn describe(&self) -> String {
        self.rules.describe()
    }
}
