//! The way down: addresses first, then the rules.

use super::{Outcome, Problems, Reconciler};
use crate::{
    address::AddressError,
    handover::{claim::Kind, kept::Kept},
    plan::{self, AddressChange},
    rules::Rule,
    wanted::{LocalAddress, Wanted},
};

/// What a cleanup is to take away: all of ours, but for what another instance on this node wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToRemove {
    /// Addresses.
    pub addresses: Vec<LocalAddress>,
    /// Rules of iptables.
    pub rules: Vec<Rule>,
    /// The table of the nftables backend.
    pub table: bool,
    /// The device, if it has our mark.
    pub device: bool,
}

impl ToRemove {
    /// All of `wanted` but what is `kept`.
    #[must_use]
    pub fn all_but(kept: &Kept, wanted: &Wanted) -> Self {
        let goes = |address: &LocalAddress| !kept.wants_address(&wanted.interface, *address);
        let rule_goes = |rule: &Rule| !kept.wants_rules(rule.address(), wanted.port, Kind::Iptables);
        let all_addresses = wanted.addresses.iter().copied().collect();
        Self {
            addresses: wanted.addresses.iter().copied().filter(goes).collect(),
            rules: wanted.rules.iter().copied().filter(rule_goes).collect(),
            table: !wanted.rules.is_empty() && !kept.wants_table(&all_addresses, wanted.port),
            device: !kept.wants_device(&wanted.interface),
        }
    }
}

impl Reconciler {
    /// Takes away what `going` says, addresses first, and goes on after an error. What is gone already is success.
    ///
    /// # Errors
    /// When something of ours is left, or could not be looked for.
    pub async fn cleanup(&mut self, going: &ToRemove) -> Result<(), Problems> {
        let mut outcome = Outcome::default();
        if let Err(error) = self.addresses_down(going, &mut outcome).await {
            outcome.problems.add(error);
        }
        if (going.table || !going.rules.is_empty())
            && let Err(errors) = self.rules.delete_all(&going.rules, going.table).await
        {
            errors.into_iter().for_each(|error| outcome.problems.add(error));
        }
        outcome.problems.into_result()
    }

    async fn addresses_down(&mut self, going: &ToRemove, outcome: &mut Outcome) -> Result<(), AddressError> {
        let link = match self.netlink.link(&self.wanted.interface).await {
            // No device, so no address on it.
            Err(AddressError::NoInterface(_)) => return Ok(()),
            link => link?,
        };
        let wanted = Wanted { addresses: going.addresses.clone(), ..self.wanted.clone() };
        let present = self.netlink.addresses(Some(link)).await?;
        let (adopt, added) = (self.adopt, self.added.clone());
        let ours = |address| adopt || added.contains(&address);
        let changes = plan::addresses_down(&wanted, link, &present, ours);
        for address in &wanted.addresses {
            let is_there = present.iter().any(|present| present.net == address.net());
            let goes = AddressChange::Remove { address: *address, index: link.index };
            if is_there && !changes.contains(&goes) {
                tracing::info!(%address, "left in place: it was there before, and --adopt=false");
            }
        }
        let mut failures = Outcome::default();
        self.apply(link, &changes, &mut failures).await;
        // Only what is really left counts.
        let present = self.netlink.addresses(Some(link)).await?;
        let left = plan::addresses_down(&wanted, link, &present, ours);
        if !left.is_empty() && failures.problems.is_empty() {
            for change in &left {
                if let AddressChange::Remove { address, .. } = change {
                    failures.problems.add(AddressError::Left(*address));
                }
            }
        }
        if !left.is_empty() {
            outcome.problems.0.append(&mut failures.problems.0);
        }
        if going.device && link.ours {
            self.netlink.remove_device(link).await?;
            tracing::info!(interface = %self.wanted.interface, "device removed");
        }
        Ok(())
    }
}
