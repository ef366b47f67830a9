//! One cycle: observe, compare, apply, observe again. And its reverse, the cleanup.

use std::fmt;

use crate::{
    address::{AddressError, Netlink},
    plan::{self, AddressChange, Link},
    rules::{
        detect::Choice,
        iptables::{Iptables, RulesError},
    },
    wanted::Wanted,
};

/// Keeps what is wanted in place.
#[derive(Debug)]
pub struct Reconciler {
    wanted: Wanted,
    rules: Iptables,
}

/// Something that went wrong with one part of the work; the other part went on.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// With the rules.
    #[error("rules: {0}")]
    Rules(#[from] RulesError),
    /// With the addresses or their device.
    #[error("address: {0}")]
    Address(#[from] AddressError),
}

/// All that went wrong in one cycle or cleanup, as one line.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

/// Of several problems of one kind only the first is written out.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        let mut separator = "";
        for (n, problem) in problems.iter().enumerate() {
            if problems.iter().take(n).any(|before| before.is_like(problem)) {
                continue;
            }
            write!(f, "{separator}{problem}")?;
            let more = problems.iter().skip(n + 1).filter(|after| after.is_like(problem)).count();
            if more > 0 {
                write!(f, " (and {more} more like it)")?;
            }
            separator = " | ";
        }
        Ok(())
    }
}

impl Problem {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rules(one), Self::Rules(other)) => one.is_like(other),
            _ => false,
        }
    }
}

impl std::error::Error for Problems {}

impl Reconciler {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(wanted: Wanted, choice: Choice) -> Self {
        let rules = Iptables::new(choice, &wanted.rules);
        Self { wanted, rules }
    }

    /// Brings everything in place, rules first. What fails keeps nothing else away: a node without its address
    /// reaches no API server at all.
    ///
    /// Returns the number of changes made.
    ///
    /// # Errors
    /// When anything is not in place at the end, as far as could be seen.
    pub async fn cycle(&mut self) -> Result<usize, Problems> {
        let mut problems = Vec::new();
        let rules = self.rules_up(&mut problems).await;
        let addresses = self.addresses_up(&mut problems).await.unwrap_or_else(|error| {
            problems.push(error.into());
            0
        });
        if problems.is_empty() { Ok(rules + addresses) } else { Err(Problems(problems)) }
    }

    async fn rules_up(&mut self, problems: &mut Vec<Problem>) -> usize {
        if self.wanted.rules.is_empty() {
            return 0;
        }
        let mut tell = |error: RulesError| problems.push(error.into());
        let seen = self.rules.seen(&self.wanted.rules).await;
        seen.errors.into_iter().for_each(&mut tell);
        let mut inserted = Vec::new();
        for rule in plan::rules_to_insert(&self.wanted.rules, &seen.copies) {
            match self.rules.insert(rule).await {
                Ok(()) => {
                    tracing::info!(%rule, "rule inserted");
                    inserted.push(rule);
                }
                Err(error) => tell(error),
            }
        }
        if inserted.is_empty() {
            return 0;
        }
        let seen = self.rules.seen(&inserted).await;
        seen.errors.into_iter().for_each(&mut tell);
        for (rule, _) in seen.copies.iter().filter(|(_, copies)| **copies == 0) {
            // If it is there after all, under a name that we don't know, it must not become more every time.
            if let Err(error) = self.rules.delete(*rule).await {
                tell(error);
            }
            tell(RulesError::NotSeen(*rule));
        }
        inserted.len()
    }

    async fn addresses_up(&self, problems: &mut Vec<Problem>) -> Result<usize, AddressError> {
        let (netlink, interface) = (Netlink::open()?, &self.wanted.interface);
        let link = netlink.link(interface).await?;
        let changes = plan::addresses_up(&self.wanted, link, &netlink.addresses(link).await?);
        let made = self.apply(&netlink, link, &changes, problems).await;
        if changes.is_empty() {
            return if link.up { Ok(0) } else { Err(AddressError::Down(interface.clone())) };
        }
        let link = netlink.link(interface).await?;
        for left in plan::addresses_up(&self.wanted, link, &netlink.addresses(link).await?) {
            if let AddressChange::Add(address) = left
                && made.contains(&left)
            {
                problems.push(AddressError::NotSeen(address).into());
            }
        }
        if link.up { Ok(made.len()) } else { Err(AddressError::Down(interface.clone())) }
    }

    /// Carries changes out and returns those that were made.
    async fn apply(
        &self,
        netlink: &Netlink,
        link: Link,
        changes: &[AddressChange],
        problems: &mut Vec<Problem>,
    ) -> Vec<AddressChange> {
        let interface = &self.wanted.interface;
        let mut made = Vec::new();
        for change in changes {
            match netlink.apply(link, *change).await {
                Ok(true) => made.push(*change),
                Ok(false) => continue,
                Err(error) => {
                    problems.push(error.into());
                    continue;
                }
            }
            match change {
                AddressChange::LinkUp => tracing::info!(%interface, "interface brought up"),
                AddressChange::Add(address) => tracing::info!(%address, %interface, "address added"),
                AddressChange::Remove(address) => tracing::info!(%address, %interface, "address removed"),
            }
        }
        made
    }

    /// Takes everything away, addresses first, and goes on after an error. What is gone already is success.
    ///
    /// # Errors
    /// When something of ours is left, or could not be looked for.
    pub async fn cleanup(&mut self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        if let Err(error) = self.addresses_down(&mut problems).await {
            problems.push(error.into());
        }
        if !self.wanted.rules.is_empty()
            && let Err(errors) = self.rules.delete_all(&self.wanted.rules).await
        {
            problems.extend(errors.into_iter().map(Problem::from));
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    async fn addresses_down(&self, problems: &mut Vec<Problem>) -> Result<(), AddressError> {
        let netlink = Netlink::open()?;
        let link = match netlink.link(&self.wanted.interface).await {
            // No device, so no address on it.
            Err(AddressError::NoInterface(_)) => return Ok(()),
            link => link?,
        };
        let mut failures = Vec::new();
        let changes = plan::addresses_down(&self.wanted, &netlink.addresses(link).await?);
        self.apply(&netlink, link, &changes, &mut failures).await;
        // Only what is really left counts.
        let left = plan::addresses_down(&self.wanted, &netlink.addresses(link).await?);
        if !left.is_empty() && failures.is_empty() {
            failures.extend(left.iter().filter_map(|change| match change {
                AddressChange::Remove(address) => Some(AddressError::Left(*address).into()),
                _ => None,
            }));
        }
        problems.extend(failures.into_iter().filter(|_| !left.is_empty()));
        Ok(())
    }
}
