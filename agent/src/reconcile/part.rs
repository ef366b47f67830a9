//! What is kept in place has two parts, addresses and rules. Each lives on its own, since programs that keep rules can
//! take seconds, and an address can't wait for them.

use std::time::Duration;

use super::Problems;

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

    pub(super) fn hold(&mut self, wait: Duration) {
        self.held = Some(self.held.map_or(wait, |held| held.min(wait)));
    }
}

/// A part of what is kept in place.
pub trait Part {
    /// Its name in the log, and as the kind of a metric.
    const NAME: &'static str;

    /// Observes, compares, applies, observes again.
    fn cycle(&mut self) -> impl Future<Output = Outcome>;

    /// Waits for an event that is worth a cycle. Without events, for ever.
    fn event(&mut self) -> impl Future<Output = ()>;

    /// What is to be in place.
    fn desired(&self) -> Counts;

    /// What was seen to be in place when it was last looked at.
    fn observed(&self) -> Counts;

    /// Whether somebody fights over it.
    fn is_contended(&self) -> bool;

    /// How it is kept, for a person.
    fn describe(&self) -> String;
}
