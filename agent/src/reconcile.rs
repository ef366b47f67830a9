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

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { " | " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Reconciler {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(wanted: Wanted, choice: Choice) -> Self {
        Self { wanted, rules: Iptables::new(choice) }
    }

    /// Brings everything in place, rules first. A failure with the rules does not keep the address away: a node
    /// without it reaches no API server at all.
    ///
    /// Returns the number of changes made.
    ///
    /// # Errors
    /// When anything is not in place at the end, as far as could be seen.
    pub async fn cycle(&mut self) -> Result<usize, Problems> {
        let rules = self.rules_up().await;
        let addresses = self.addresses_up().await;
        match (rules, addresses) {
            (Ok(rules), Ok(addresses)) => Ok(rules + addresses),
            (rules, addresses) => {
                let problems = [rules.err().map(Problem::from), addresses.err().map(Problem::from)];
                Err(Problems(problems.into_iter().flatten().collect()))
            }
        }
    }

    async fn rules_up(&mut self) -> Result<usize, RulesError> {
        let wanted = &self.wanted.rules;
        if wanted.is_empty() {
            return Ok(0);
        }
        let missing = plan::rules_to_insert(wanted, &self.rules.copies(wanted).await?);
        for rule in &missing {
            self.rules.insert(*rule).await?;
            tracing::info!(%rule, "rule inserted");
        }
        if !missing.is_empty() {
            let seen = self.rules.copies(&missing).await?;
            if let Some(rule) = missing.iter().find(|rule| !seen.contains_key(rule)) {
                // If it is there after all, under a name that we don't know, it must not become more every time.
                self.rules.delete(*rule).await?;
                return Err(RulesError::NotSeen(*rule));
            }
        }
        Ok(missing.len())
    }

    async fn addresses_up(&self) -> Result<usize, AddressError> {
        let (netlink, interface) = (Netlink::open()?, &self.wanted.interface);
        let link = netlink.link(interface).await?;
        let changes = plan::addresses_up(&self.wanted, link, &netlink.addresses(link).await?);
        for change in &changes {
            netlink.apply(link, *change).await?;
            self.tell(*change);
        }
        let link = if changes.is_empty() { link } else { self.verify(&netlink).await? };
        if link.up { Ok(changes.len()) } else { Err(AddressError::Down(interface.clone())) }
    }

    async fn verify(&self, netlink: &Netlink) -> Result<Link, AddressError> {
        let link = netlink.link(&self.wanted.interface).await?;
        let left = plan::addresses_up(&self.wanted, link, &netlink.addresses(link).await?);
        let missing = left.into_iter().find_map(|change| match change {
            AddressChange::Add(address) => Some(address),
            _ => None,
        });
        missing.map_or(Ok(link), |address| Err(AddressError::NotSeen(address)))
    }

    fn tell(&self, change: AddressChange) {
        let interface = &self.wanted.interface;
        match change {
            AddressChange::LinkUp => tracing::info!(%interface, "interface brought up"),
            AddressChange::Add(address) => tracing::info!(%address, %interface, "address added"),
            AddressChange::Remove(address) => tracing::info!(%address, %interface, "address removed"),
        }
    }

    /// Takes everything away, addresses first, and goes on after an error. What is gone already is success.
    ///
    /// # Errors
    /// When something of ours is left, or could not be looked for.
    pub async fn cleanup(&mut self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        if let Err(error) = self.addresses_down().await {
            problems.push(error.into());
        }
        if !self.wanted.rules.is_empty()
            && let Err(errors) = self.rules.delete_all(&self.wanted.rules).await
        {
            problems.extend(errors.into_iter().map(Problem::from));
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    async fn addresses_down(&self) -> Result<(), AddressError> {
        let netlink = Netlink::open()?;
        let link = match netlink.link(&self.wanted.interface).await {
            // No device, so no address on it.
            Err(AddressError::NoInterface(_)) => return Ok(()),
            link => link?,
        };
        let mut failed = None;
        for change in plan::addresses_down(&self.wanted, &netlink.addresses(link).await?) {
            match netlink.apply(link, change).await {
                Ok(()) => self.tell(change),
                Err(error) => {
                    tracing::warn!(%error, "cleanup goes on after an error");
                    failed = Some(error);
                }
            }
        }
        // Only what is really left counts.
        let left = plan::addresses_down(&self.wanted, &netlink.addresses(link).await?);
        failed.filter(|_| !left.is_empty()).map_or(Ok(()), Err)
    }
}
