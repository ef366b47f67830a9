//! What an instance announces. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroU16,
};

use crate::wanted::{InterfaceName, LocalAddress};

/// A number that tells instances apart, drawn anew by each; process ids don't, across containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub(super) u64);

impl InstanceId {
    /// Draws one.
    #[must_use]
    pub fn random() -> Self {
        // The keys of a new hasher come from the kernel's random numbers; what it makes of nothing is as random.
        Self(RandomState::new().build_hasher().finish())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where rules are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// In the tables of iptables, through either of its interfaces to the kernel.
    Iptables,
    /// In an nftables table of their own, one for each set of addresses and port.
    Nftables,
}

/// Whether an instance wants rules for an address, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rules {
    /// None (`-`).
    None,
    /// Some, but it is not found out yet where; until then they may be anywhere (`?`).
    Undecided,
    /// Some, there (`i`, `n`).
    In(Kind),
}

impl Rules {
    pub(super) const ALL: [Self; 4] =
        [Self::None, Self::Undecided, Self::In(Kind::Iptables), Self::In(Kind::Nftables)];

    /// As it stands in a name. One byte: a whole word does not fit beside the longest address and device.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Undecided => "?",
            Self::In(Kind::Iptables) => "i",
            Self::In(Kind::Nftables) => "n",
        }
    }

    /// Whether these may be there.
    #[must_use]
    pub fn may_be_in(self, kind: Kind) -> bool {
        self == Self::Undecided || self == Self::In(kind)
    }
}

/// One address that an instance wants, with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The address.
    pub address: LocalAddress,
    /// The port that its rules are for.
    pub port: NonZeroU16,
    /// Its rules.
    pub rules: Rules,
    /// The device that carries it.
    pub interface: InterfaceName,
}

/// All that one instance wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The device that carries the addresses.
    pub interface: InterfaceName,
    /// The addresses. Without any there is nothing to announce.
    pub addresses: BTreeSet<LocalAddress>,
    /// The port that rules are for.
    pub port: NonZeroU16,
    /// The rules, the same for all addresses.
    pub rules: Rules,
}

impl Claims {
    /// One claim an address.
    pub fn each(&self) -> impl Iterator<Item = Claim> {
        self.addresses.iter().map(|address| Claim {
            address: *address,
            port: self.port,
            rules: self.rules,
            interface: self.interface.clone(),
        })
    }
}

/// An agent on this node, as it announces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Which.
    pub id: InstanceId,
    /// What it wants.
    pub claims: BTreeSet<Claim>,
}

/// Puts together what each instance claims.
#[must_use]
pub fn by_instance(claims: impl IntoIterator<Item = (InstanceId, Claim)>) -> Vec<Instance> {
    let mut instances = BTreeMap::<InstanceId, BTreeSet<Claim>>::new();
    for (instance, claim) in claims {
        instances.entry(instance).or_default().insert(claim);
    }
    instances.into_iter().map(|(id, claims)| Instance { id, claims }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_put_together_by_instance() {
        let claims = [("10.96.0.2", 2), ("10.96.0.3", 1), ("10.96.0.4", 2)].map(|(address, id)| {
            let (address, port) = (address.parse().unwrap(), 443.try_into().unwrap());
            let interface = "lo".parse().unwrap();
            (InstanceId(id), Claim { address, port, rules: Rules::None, interface })
        });
        let instances = by_instance(claims);
        let shape: Vec<_> = instances.iter().map(|instance| (instance.id.0, instance.claims.len())).collect();
        assert_eq!(shape, [(1, 1), (2, 2)]);
    }

    #[test]
    fn instances_draw_different_numbers() {
        let drawn: BTreeSet<_> = (0..100).map(|_| InstanceId::random()).collect();
        assert_eq!(drawn.len(), 100);
    }
}
