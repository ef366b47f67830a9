//! What the way down takes along. Pure.

use crate::{
    handover::{claim::Kind, kept::Kept},
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
