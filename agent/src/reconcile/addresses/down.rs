//! The way down: addresses of ours taken away, here and where an earlier `--interface` put them.

use super::Addresses;
use crate::{
    address::AddressError,
    handover::{kept::Kept, kept_by_others},
    plan::{self, AddressChange, Link},
    reconcile::{Problems, ToRemove},
    wanted::{LocalAddress, Wanted},
};

impl Addresses {
    /// Takes addresses of ours away from where an earlier `--interface` put them, unless another instance has them
    /// there: then they are to be looked for again, since that one may end without taking them away.
    pub(super) async fn remove_strays(
        &mut self,
        link: Link,
        problems: &mut Problems,
    ) -> Result<bool, AddressError> {
        let strays = plan::strays(&self.wanted, link, &self.netlink.addresses(None).await?);
        if strays.is_empty() {
            return Ok(false);
        }
        let kept = kept_by_others(self.instance);
        let going = self.unkept(&kept, &strays).await;
        self.apply(link, &going, problems).await;
        Ok(going.len() < strays.len())
    }

    /// Those of `strays` that no other instance wants where they are.
    async fn unkept(&mut self, kept: &Kept, strays: &[AddressChange]) -> Vec<AddressChange> {
        let mut going = Vec::new();
        for stray in strays {
            let AddressChange::Remove { address, index } = *stray else { continue };
            match self.netlink.name(index).await {
                Ok(Some(interface)) if !kept.wants_address(&interface, address) => going.push(*stray),
                // Wanted there, or gone with its device.
                _ => {}
            }
        }
        going
    }

    /// Takes away what `going` says, wherever it is, and goes on after an error. What is gone already is success.
    ///
    /// # Errors
    /// When something of ours is left, or could not be looked for.
    pub async fn cleanup(&mut self, going: &ToRemove, kept: &Kept) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if let Err(error) = self.take_down(going, kept, &mut problems).await {
            problems.add(error);
        }
        problems.into_result()
    }

    async fn take_down(
        &mut self,
        going: &ToRemove,
        kept: &Kept,
        problems: &mut Problems,
    ) -> Result<(), AddressError> {
        let link = match self.netlink.link(&self.wanted.interface).await {
            // No device, so no address on it.
            Err(AddressError::NoInterface(_)) => return Ok(()),
            link => link?,
        };
        let wanted = Wanted { addresses: going.addresses.clone(), ..self.wanted.clone() };
        let (ownership, added) = (self.ownership, self.added.clone());
        let ours = |address| ownership.adopt || (!ownership.marks && added.contains(&address));
        let present = self.netlink.addresses(None).await?;
        let mut changes = plan::addresses_down(&wanted, link, &present, ours);
        let stays = |address: &&LocalAddress| {
            let is_there = present.iter().any(|it| it.net == address.net() && it.index == link.index);
            is_there && !changes.contains(&AddressChange::Remove { address: **address, index: link.index })
        };
        let staying: Vec<LocalAddress> = wanted.addresses.iter().filter(stays).copied().collect();
        for address in &staying {
            tracing::info!(%address, "left in place: somebody else added it, and --adopt=false");
        }
        let strays = plan::strays(&self.wanted, link, &present);
        changes.extend(self.unkept(kept, &strays).await);
        let mut failures = Problems::default();
        self.apply(link, &changes, &mut failures).await;
        // Only what is really left counts.
        let present = self.netlink.addresses(Some(link)).await?;
        let left = plan::addresses_down(&wanted, link, &present, ours);
        for change in &left {
            if let AddressChange::Remove { address, .. } = change
                && failures.is_empty()
            {
                failures.add(AddressError::Left(*address));
            }
        }
        if !left.is_empty() {
            problems.append(failures);
        }
        if going.device && link.ours && staying.is_empty() {
            self.netlink.remove_device(link).await?;
            tracing::info!(interface = %self.wanted.interface, "device removed");
        }
        Ok(())
    }
}
