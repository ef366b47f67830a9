//! What this instance wants, announced for as long as it runs.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use super::{
    announce::Announcement,
    claim::{Claims, InstanceId, Kind, Rules},
};
use crate::wanted::Wanted;

/// How often what could not be announced is tried again.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(10);

/// Our place among the instances on this node: what we want, announced. What can't be is tried again.
#[derive(Debug)]
pub struct Place<'a> {
    id: InstanceId,
    wanted: &'a Wanted,
    announcement: RefCell<Option<Announcement>>,
    kind: Cell<Option<Kind>>,
    /// What is announced is what is wanted.
    complete: Cell<bool>,
}

impl<'a> Place<'a> {
    /// Takes it, and announces what is wanted.
    #[must_use]
    pub fn new(wanted: &'a Wanted) -> Self {
        let place = Self {
            id: InstanceId::random(),
            wanted,
            announcement: RefCell::new(None),
            kind: Cell::new(None),
            complete: Cell::new(false),
        };
        place.announce();
        place
    }

    /// Our number.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.id
    }

    fn announce(&self) {
        let rules = match self.kind.get() {
            _ if self.wanted.rules.is_empty() => Rules::None,
            Some(kind) => Rules::In(kind),
            None => Rules::Undecided,
        };
        let addresses = self.wanted.addresses.iter().copied().collect();
        let interface = self.wanted.interface.clone();
        let claims = Claims { interface, addresses, port: self.wanted.port, rules };
        let mut announcement = self.announcement.borrow_mut();
        let announced = match announcement.as_mut() {
            Some(announcement) => announcement.replace(&claims),
            None => Announcement::publish(self.id, &claims).map(|new| *announcement = Some(new)),
        };
        self.complete.set(announced.is_ok());
        if let Err(error) = announced {
            tracing::warn!(%error, "going on without, and trying again");
        }
    }

    /// It is known now where the rules are kept.
    pub fn decided(&self, kind: Option<Kind>) {
        if kind != self.kind.get() {
            self.kind.set(kind);
            self.announce();
        }
    }

    /// Tries again what could not be announced, for ever.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(ANNOUNCE_INTERVAL).await;
            if !self.complete.get() {
                self.announce();
            }
        }
    }

    /// Gives it up, and says which it was.
    #[must_use]
    pub fn withdraw(self) -> InstanceId {
        self.id
    }
}
