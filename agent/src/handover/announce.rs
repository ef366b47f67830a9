//! Tells other instances on this node what this one wants.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::net::UnixListener,
};

use super::{
    claim::{Claim, Claims, InstanceId},
    names::Name,
    socket,
};

/// Why a claim could not be announced. An agent can go on without, with a warning: an older one that cleans up may
/// then take away what this one wants, and it has to be put back.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The name is in use.
    #[error(
        "cannot announce {0} to other instances: another process has bound this socket name; find it with ss -xlp"
    )]
    Taken(Name),
    /// No socket, or no name for it.
    #[error("cannot announce {name} to other instances: {cause}")]
    Socket {
        /// What was to be bound.
        name: Name,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl AnnounceError {
    fn new(name: Name, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::AddrInUse => Self::Taken(name),
            _ => Self::Socket { name, cause },
        }
    }
}

/// Claims that hold for as long as this lives: a socket each, withdrawn on drop, or by the kernel when the
/// process ends, however it does.
#[derive(Debug)]
#[must_use = "dropped, it is withdrawn"]
pub struct Announcement {
    id: InstanceId,
    sockets: BTreeMap<Claim, UnixListener>,
}

impl Announcement {
    /// Announces these claims, under the number of an instance, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When a name can't be bound; then none is.
    pub fn publish(id: InstanceId, claims: &Claims) -> Result<Self, AnnounceError> {
        let mut announcement = Self { id, sockets: BTreeMap::new() };
        announcement.replace(claims)?;
        Ok(announcement)
    }

    /// Announces these claims instead. What is in both holds without a gap, and what is new is there before
    /// anything goes, so that whoever looks meanwhile sees too much rather than too little.
    ///
    /// # Errors
    /// When a name can't be bound; then all is as before.
    pub fn replace(&mut self, claims: &Claims) -> Result<(), AnnounceError> {
        let wanted: BTreeSet<Claim> = claims.each().collect();
        let mut new = BTreeMap::new();
        for claim in wanted.iter().filter(|claim| !self.sockets.contains_key(claim)) {
            let name = Name { instance: self.id, claim: claim.clone() };
            match socket::bind(&name.to_string()) {
                Ok(listener) => new.insert(claim.clone(), listener),
                Err(cause) => return Err(AnnounceError::new(name, cause)),
            };
        }
        self.sockets.append(&mut new);
        self.sockets.retain(|claim, _| wanted.contains(claim));
        Ok(())
    }

    /// The number by which others know this instance, and by which it knows itself.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// Ends all claims, as dropping does. The number stays good for [`living`](super::living::living()).
    pub fn withdraw(self) -> InstanceId {
        self.id
    }
}
