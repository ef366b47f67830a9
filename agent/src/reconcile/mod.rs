//! One cycle: observe, compare, apply, observe again. And its reverse, the cleanup.

mod addresses;
mod cleanup;
mod problem;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

pub use self::{
    cleanup::ToRemove,
    problem::{Problem, Problems},
};
use crate::{
    address::Netlink,
    contention::{Contention, Told},
    handover::claim::InstanceId,
    netlink::events::{Event, Events},
    rules::{Rule, backend::Rules, detect::Choice},
    wanted::{LocalAddress, Wanted},
};

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// The device and its addresses.
    pub addresses: bool,
    /// The rules.
    pub rules: bool,
}

impl Scope {
    /// Everything.
    pub const ALL: Self = Self { addresses: true, rules: true };

    /// Whether there is anything to look at.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn add(&mut self, other: Self) {
        self.addresses |= other.addresses;
        self.rules |= other.rules;
    }
}

/// A number for each kind of thing that is kept in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Addresses.
    pub addresses: usize,
    /// Rules.
    pub rules: usize,
    /// Devices that are up, or were brought up.
    pub links: usize,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub fn sum(self) -> usize {
        self.addresses + self.rules + self.links
    }
}

/// What came of a cycle.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was put in place.
    pub changes: Counts,
    /// Of those, what had been in place before.
    pub drift: Counts,
    /// What went wrong.
    pub problems: Problems,
    /// Something is missing and not put back for that long yet: not at all, if it was taken away just now, and longer
    /// if somebody fights over it.
    pub held: Option<Duration>,
}

impl Outcome {
    /// Whether everything that was looked at is as wanted.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.problems.is_empty() && self.held.is_none()
    }

    fn hold(&mut self, wait: Duration) {
        self.held = Some(self.held.map_or(wait, |held| held.min(wait)));
    }
}

/// The fights there can be.
#[derive(Debug)]
struct Fights {
    addresses: Contention,
    rules: Contention,
}

/// Keeps what is wanted in place.
#[derive(Debug)]
pub struct Reconciler {
    wanted: Wanted,
    adopt: bool,
    rules: Rules,
    netlink: Netlink,
    events: Option<Events>,
    /// The number of the device, while it is known.
    index: Option<u32>,
    /// A device of that name was there, and somebody else's: it is not ours to create if it goes.
    foreign_device: bool,
    /// The kernel keeps marks on addresses, as far as is known.
    marks: bool,
    /// Addresses that were added here: ours, whether the kernel keeps marks or not.
    added: BTreeSet<LocalAddress>,
    /// Other devices are to be looked at for addresses of ours.
    look_for_strays: bool,
    /// Our number among the instances on this node.
    instance: InstanceId,
    /// What events told of since it was looked at.
    dirt: Scope,
    fights: Fights,
    /// All was in place once, so that what is missing now was taken away.
    established: Scope,
    observed: Counts,
    /// Rules that were inserted by the last cycle that inserted any, and not seen afterwards.
    unseen: BTreeSet<Rule>,
}

impl Reconciler {
    /// Touches nothing yet. `interval` bounds how long somebody who fights back is given way to.
    #[must_use]
    pub fn new(
        wanted: Wanted,
        choice: Choice,
        adopt: bool,
        interval: Duration,
        instance: InstanceId,
    ) -> Self {
        let rules = Rules::new(&wanted.rules, choice);
        let fight = || Contention::new(interval);
        Self {
            adopt,
            rules,
            netlink: Netlink::default(),
            events: None,
            index: None,
            foreign_device: false,
            marks: true,
            added: BTreeSet::new(),
            look_for_strays: true,
            instance,
            dirt: Scope::default(),
            fights: Fights { addresses: fight(), rules: fight() },
            established: Scope::default(),
            observed: Counts::default(),
            unseen: BTreeSet::new(),
            wanted,
        }
    }

    /// Listens to events from now on.
    pub fn listen(&mut self) {
        self.events = Some(Events::open());
    }

    /// How the rules are kept.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What was seen to be in place when it was last looked at.
    #[must_use]
    pub fn observed(&self) -> Counts {
        self.observed
    }

    /// What is to be in place.
    #[must_use]
    pub fn desired(&self) -> Counts {
        Counts { addresses: self.wanted.addresses.len(), rules: self.wanted.rules.len(), links: 1 }
    }

    /// Whether somebody fights over addresses, and over rules.
    #[must_use]
    pub fn contended(&self) -> (bool, bool) {
        (self.fights.addresses.is_on(), self.fights.rules.is_on())
    }

    /// Waits for an event that is worth a cycle, and returns what to look at. Without events, for ever.
    pub async fn dirt(&mut self) -> Scope {
        loop {
            if !self.dirt.is_empty() {
                return self.dirt;
            }
            let Some(events) = &mut self.events else { return std::future::pending().await };
            events.wait().await;
            self.drain();
        }
    }

    /// Takes all events that have arrived. What is observed from here on answers them.
    fn drain(&mut self) {
        let Some(events) = &mut self.events else { return };
        let (rules, dirt, index, interface) =
            (&mut self.rules, &mut self.dirt, self.index, &self.wanted.interface);
        events.drain(|event| {
            dirt.rules |= rules.note(&event);
            dirt.addresses |= match event {
                Event::Link { index: of, name } => index == Some(of) || name == interface.as_str(),
                Event::Address { index: of } => index == Some(of),
                Event::Lost => true,
                Event::Nft(_) | Event::Generation(_) => false,
            };
        });
    }

    /// Brings what `scope` says in place, rules first. What fails keeps nothing else away: a node without its address
    /// reaches no API server at all.
    pub async fn cycle(&mut self, mut scope: Scope) -> Outcome {
        self.drain();
        scope.add(std::mem::take(&mut self.dirt));
        let mut outcome = Outcome::default();
        if scope.rules && !self.wanted.rules.is_empty() {
            self.rules_up(&mut outcome).await;
        }
        if scope.addresses
            && let Err(error) = self.addresses_up(&mut outcome).await
        {
            if self.index.is_none() {
                self.observed = Counts { rules: self.observed.rules, ..Counts::default() };
            }
            outcome.problems.add(error);
        }
        if outcome.is_in_place() {
            self.established.add(scope);
        }
        self.tell_fights();
        outcome
    }

    async fn rules_up(&mut self, outcome: &mut Outcome) {
        match self.rules.choose().await {
            // Before the first look: what happens after it is not to be missed.
            Ok(true) if self.rules.in_nf_tables() => {
                if let Some(events) = &mut self.events {
                    events.add_nft();
                }
            }
            Ok(_) => {}
            Err(error) => {
                self.observed.rules = 0;
                return outcome.problems.add(error);
            }
        }
        let looked = self.rules.look().await;
        let unknown = !looked.errors.is_empty();
        looked.errors.into_iter().for_each(|error| outcome.problems.add(error));
        self.observed.rules = if unknown { 0 } else { self.wanted.rules.len() - looked.missing.len() };
        if looked.missing.is_empty() {
            return;
        }
        let now = Instant::now();
        let wait = self.fights.rules.hold(now);
        if !wait.is_zero() {
            return outcome.hold(wait);
        }
        let (made, errors) = self.rules.insert(&looked.missing).await;
        errors.into_iter().for_each(|error| outcome.problems.add(error));
        outcome.changes.rules = made;
        if self.established.rules {
            outcome.drift.rules = looked.missing.len();
            self.fights.rules.healed(now);
        }
        let after = self.rules.look().await;
        self.observed.rules = self.wanted.rules.len() - after.missing.len();
        after.errors.into_iter().for_each(|error| outcome.problems.add(error));
        let unseen = std::mem::take(&mut self.unseen);
        for rule in after.missing {
            // Taken away meanwhile, perhaps: one more cycle, at once.
            self.dirt.rules = true;
            outcome.hold(Duration::ZERO);
            // One that could not be inserted is told of already.
            if !looked.missing.contains(&rule) || made < looked.missing.len() {
                continue;
            }
            // Perhaps it is there, in a form that is not recognised: it must not become more every time.
            let errors = self.rules.take_back(rule).await;
            if unseen.contains(&rule) {
                errors.into_iter().for_each(|error| outcome.problems.add(error));
            }
            self.unseen.insert(rule);
        }
    }

    fn tell_fights(&mut self) {
        let now = Instant::now();
        let fights = [("addresses", &mut self.fights.addresses), ("rules", &mut self.fights.rules)];
        for (over, fight) in fights {
            match fight.change(now) {
                Some(Told::Begins) => tracing::warn!(
                    over,
                    "something on this node takes these away again and again; putting them back more and more \
                     rarely; find out what it is"
                ),
                Some(Told::Ends) => tracing::info!(over, "nothing takes these away any more"),
                None => {}
            }
        }
    }
}
