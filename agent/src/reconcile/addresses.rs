//! The device and its addresses, in a cycle.

use std::time::Instant;

use super::{Outcome, Reconciler};
use crate::{
    address::AddressError,
    handover::kept_by_others,
    plan::{self, AddressChange, Link, Ownership, Present},
};

impl Reconciler {
    pub(super) async fn addresses_up(&mut self, outcome: &mut Outcome) -> Result<(), AddressError> {
        let link = match self.device(outcome).await {
            Ok(link) => link,
            Err(error) => {
                self.index = None;
                return Err(error);
            }
        };
        self.index = Some(link.index);
        let present = self.netlink.addresses((!self.look_for_strays).then_some(link)).await?;
        if self.look_for_strays {
            self.look_for_strays = self.remove_strays(link, &present, outcome).await;
        }
        let changes = plan::addresses_up(&self.wanted, self.ownership(), link, &present);
        self.observe(link, &present);
        let down = || AddressError::Down(self.wanted.interface.clone());
        if changes.is_empty() {
            return if link.up { Ok(()) } else { Err(down()) };
        }
        let drift = |change: &&AddressChange| !matches!(change, AddressChange::Mark(_));
        let is_drift = self.established.addresses && changes.iter().any(|change| drift(&change));
        let now = Instant::now();
        let wait = self.fights.addresses.hold(now);
        if is_drift && !wait.is_zero() {
            outcome.hold(wait);
            return Ok(());
        }
        let made = self.apply(link, &changes, outcome).await;
        let count = |wanted: fn(&AddressChange) -> bool| made.iter().filter(|change| wanted(change)).count();
        outcome.changes.addresses += count(|change| !matches!(change, AddressChange::LinkUp));
        outcome.changes.links += count(|change| matches!(change, AddressChange::LinkUp));
        if is_drift {
            outcome.drift.addresses = count(|change| matches!(change, AddressChange::Add(_)));
            outcome.drift.links = outcome.changes.links;
            self.fights.addresses.healed(now);
        }
        self.verify(&made, outcome).await
    }

    /// Looks again: only what is seen counts. What the kernel told meanwhile is answered by it.
    async fn verify(&mut self, made: &[AddressChange], outcome: &mut Outcome) -> Result<(), AddressError> {
        self.drain();
        self.dirt.addresses = false;
        let link = self.netlink.link(&self.wanted.interface).await?;
        self.index = Some(link.index);
        let present = self.netlink.addresses(Some(link)).await?;
        self.observe(link, &present);
        for left in plan::addresses_up(&self.wanted, self.ownership(), link, &present) {
            match left {
                AddressChange::Add(address) if made.contains(&left) => {
                    outcome.problems.add(AddressError::NotSeen(address));
                }
                AddressChange::Mark(address) if self.marks && self.just_marked(address, made) => {
                    tracing::debug!("this kernel keeps no marks on addresses (IFA_PROTO, Linux 5.18)");
                    self.marks = false;
                }
                _ => {}
            }
        }
        if link.up { Ok(()) } else { Err(AddressError::Down(self.wanted.interface.clone())) }
    }

    fn just_marked(&self, address: crate::wanted::LocalAddress, made: &[AddressChange]) -> bool {
        made.iter().any(|change| {
            matches!(change, AddressChange::Add(made) | AddressChange::Mark(made) if *made == address)
        })
    }

    /// The device, created where there is none of that name.
    async fn device(&mut self, outcome: &mut Outcome) -> Result<Link, AddressError> {
        match self.netlink.link(&self.wanted.interface).await {
            Err(AddressError::NoInterface(_)) if !self.foreign_device => {}
            link => {
                self.foreign_device |= link.as_ref().is_ok_and(|link| !link.ours);
                return link;
            }
        }
        self.netlink.create_device(&self.wanted.interface).await?;
        tracing::info!(interface = %self.wanted.interface, "dummy device created");
        outcome.changes.links += 1;
        self.netlink.link(&self.wanted.interface).await
    }

    fn ownership(&self) -> Ownership {
        Ownership { adopt: self.adopt, marks: self.marks }
    }

    fn observe(&mut self, link: Link, present: &[Present]) {
        let missing = plan::addresses_up(&self.wanted, self.ownership(), link, present);
        let missing = missing.iter().filter(|change| matches!(change, AddressChange::Add(_))).count();
        self.observed.addresses = self.wanted.addresses.len() - missing;
        self.observed.links = usize::from(link.up);
    }

    /// Carries changes out and returns those that were made.
    pub(super) async fn apply(
        &mut self,
        link: Link,
        changes: &[AddressChange],
        outcome: &mut Outcome,
    ) -> Vec<AddressChange> {
        let interface = self.wanted.interface.clone();
        let mut made = Vec::new();
        for change in changes {
            match self.netlink.apply(link, *change).await {
                Ok(true) => made.push(*change),
                Ok(false) => continue,
                Err(error) => {
                    outcome.problems.add(error);
                    continue;
                }
            }
            match change {
                AddressChange::LinkUp => tracing::debug!(%interface, "interface brought up"),
                AddressChange::Add(address) => {
                    self.added.insert(*address);
                    tracing::debug!(%address, %interface, "address added");
                }
                AddressChange::Mark(address) => tracing::debug!(%address, %interface, "address adopted"),
                AddressChange::Remove { address, index } => {
                    tracing::info!(%address, device = index, "address removed");
                }
            }
        }
        made
    }

    /// Takes addresses of ours away from where an earlier `--interface` put them, unless another instance has them
    /// there: then they are to be looked for again, since that one may end without taking them away.
    async fn remove_strays(&mut self, link: Link, present: &[Present], outcome: &mut Outcome) -> bool {
        let strays = plan::strays(&self.wanted, link, present);
        if strays.is_empty() {
            return false;
        }
        let (kept, mut going) = (kept_by_others(self.instance), Vec::new());
        for stray in &strays {
            let AddressChange::Remove { address, index } = *stray else { continue };
            match self.netlink.name(index).await {
                Ok(Some(interface)) if !kept.wants_address(&interface, address) => going.push(*stray),
                // Wanted there, or gone with its device.
                _ => {}
            }
        }
        self.apply(link, &going, outcome).await;
        going.len() < strays.len()
    }
}
