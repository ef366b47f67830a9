//! The device and its addresses, in a cycle.

mod down;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use common::contention::Fights;

use super::{Counts, Outcome, Part, Problems, tell_fights};
use crate::{
    address::{AddressError, Netlink},
    handover::claim::InstanceId,
    netlink::events::{Event, Events},
    plan::{self, AddressChange, Link, Ownership},
    wanted::{LocalAddress, Wanted},
};

/// The addresses that are kept in place, and their device.
#[derive(Debug)]
pub struct Addresses {
    wanted: Wanted,
    ownership: Ownership,
    netlink: Netlink,
    events: Events,
    /// An event told of a change that was not looked at yet.
    dirty: bool,
    /// The number of the device, while it is known.
    index: Option<u32>,
    /// A device of that name was there, and somebody else's: it is not ours to create if it goes.
    foreign_device: bool,
    /// Addresses that were added here: ours on a kernel that keeps no marks.
    added: BTreeSet<LocalAddress>,
    /// Other devices are to be looked at for addresses of ours.
    look_for_strays: bool,
    /// Our number among the instances on this node.
    instance: InstanceId,
    /// Over an address, or over the state of the device (None).
    fights: Fights<Option<LocalAddress>>,
    /// All was in place once, so that what is missing now was taken away.
    established: bool,
    observed: Counts,
}

impl Addresses {
    /// Touches nothing yet. `interval` bounds how long somebody who fights back is given way to. To `listen` to events,
    /// it must be called within a runtime.
    #[must_use]
    pub fn new(wanted: Wanted, adopt: bool, listen: bool, interval: Duration, instance: InstanceId) -> Self {
        Self {
            wanted,
            ownership: Ownership { adopt, marks: true },
            netlink: Netlink::default(),
            events: if listen { Events::of_addresses() } else { Events::none() },
            dirty: false,
            index: None,
            foreign_device: false,
            added: BTreeSet::new(),
            look_for_strays: true,
            instance,
            fights: Fights::new(interval),
            established: false,
            observed: Counts::default(),
        }
    }

    /// Takes all events that have arrived. What is observed from here on answers them.
    fn drain(&mut self) {
        let (dirty, index, interface) = (&mut self.dirty, self.index, &self.wanted.interface);
        self.events.drain(|event| {
            *dirty |= match event {
                Event::Link { index: of, name } => index == Some(of) || name == interface.as_str(),
                Event::Address { index: of } => index == Some(of),
                Event::Lost => true,
                Event::Nft(_) | Event::Generation(_) => false,
            };
        });
    }

    async fn bring_up(&mut self, outcome: &mut Outcome) -> Result<(), AddressError> {
        self.index = None;
        let link = self.device(outcome).await?;
        self.index = Some(link.index);
        let present = self.netlink.addresses(Some(link)).await?;
        let changes = plan::addresses_up(&self.wanted, self.ownership, link, &present);
        self.observe(link, &changes);
        let going = self.without_fights(changes, outcome);
        let made = self.apply(link, &going, &mut outcome.problems).await;
        let count = |wanted: fn(&AddressChange) -> bool| made.iter().filter(|change| wanted(change)).count();
        let added = count(|change| matches!(change, AddressChange::Add(_)));
        let brought_up = count(|change| matches!(change, AddressChange::LinkUp));
        outcome.changes.addresses = count(|change| !matches!(change, AddressChange::LinkUp));
        outcome.changes.links += brought_up;
        if self.established {
            (outcome.drift.addresses, outcome.drift.links) = (added, brought_up);
            let now = Instant::now();
            made.iter().filter_map(thing).for_each(|thing| self.fights.healed(thing, now));
        }
        let link = if made.is_empty() { link } else { self.verify(&made, outcome).await? };
        if !link.up {
            return Err(AddressError::Down(self.wanted.interface.clone()));
        }
        if self.look_for_strays && outcome.is_in_place() {
            self.look_for_strays = self.remove_strays(link, &mut outcome.problems).await?;
        }
        Ok(())
    }

    /// Those that nobody fights over, or not just now.
    fn without_fights(&self, changes: Vec<AddressChange>, outcome: &mut Outcome) -> Vec<AddressChange> {
        let now = Instant::now();
        let hold = |change: &AddressChange| {
            thing(change).map_or(Duration::ZERO, |thing| self.fights.hold(&thing, now))
        };
        changes.iter().map(hold).filter(|wait| !wait.is_zero()).for_each(|wait| outcome.hold(wait));
        changes.into_iter().filter(|change| hold(change).is_zero()).collect()
    }

    /// Looks again: only what is seen counts. What the kernel told meanwhile is answered by it.
    async fn verify(&mut self, made: &[AddressChange], outcome: &mut Outcome) -> Result<Link, AddressError> {
        self.drain();
        self.dirty = false;
        let link = self.netlink.link(&self.wanted.interface).await?;
        self.index = Some(link.index);
        let present = self.netlink.addresses(Some(link)).await?;
        let changes = plan::addresses_up(&self.wanted, self.ownership, link, &present);
        self.observe(link, &changes);
        for left in changes {
            match left {
                AddressChange::Add(address) if made.contains(&left) => {
                    outcome.problems.add(AddressError::NotSeen(address));
                }
                // Marked just now.
                AddressChange::Mark(_) if made.contains(&left) => {
                    tracing::debug!("this kernel keeps no marks on addresses (IFA_PROTO, Linux 5.18)");
                    self.ownership.marks = false;
                }
                AddressChange::Mark(address) if made.contains(&AddressChange::Add(address)) => {
                    self.ownership.marks = false;
                }
                _ => {}
            }
        }
        Ok(link)
    }

    /// The device, created where there is none of that name and never was one of somebody else's.
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

    /// Takes note of what is there, given what it takes to have all of it.
    fn observe(&mut self, link: Link, changes: &[AddressChange]) {
        let missing = changes.iter().filter(|change| matches!(change, AddressChange::Add(_))).count();
        self.observed.addresses = self.wanted.addresses.len() - missing;
        self.observed.links = usize::from(link.up);
    }

    /// Carries changes out and returns those that were made.
    async fn apply(
        &mut self,
        link: Link,
        changes: &[AddressChange],
        problems: &mut Problems,
    ) -> Vec<AddressChange> {
        let mut made = Vec::new();
        for change in changes {
            match self.netlink.apply(link, *change).await {
                Ok(true) => made.push(*change),
                Ok(false) => continue,
                Err(error) => {
                    problems.add(error);
                    continue;
                }
            }
            let interface = &self.wanted.interface;
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
}

/// What a change is about, where it can be fought over.
fn thing(change: &AddressChange) -> Option<Option<LocalAddress>> {
    match change {
        AddressChange::LinkUp => Some(None),
        AddressChange::Add(address) => Some(Some(*address)),
        AddressChange::Mark(_) | AddressChange::Remove { .. } => None,
    }
}

impl Part for Addresses {
    const NAME: &'static str = "addresses";

    async fn cycle(&mut self) -> Outcome {
        self.drain();
        self.dirty = false;
        let mut outcome = Outcome::default();
        if let Err(error) = self.bring_up(&mut outcome).await {
            if self.index.is_none() {
                self.observed = Counts::default();
            }
            outcome.problems.add(error);
        }
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
        Counts { addresses: self.wanted.addresses.len(), links: 1, ..Counts::default() }
    }

    fn observed(&self) -> Counts {
        self.observed
    }

    fn is_contended(&self) -> bool {
        self.fights.is_on()
    }

    fn describe(&self) -> String {
        format!("interface {}", self.wanted.interface)
    }
}
