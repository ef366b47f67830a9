//! What must not be taken away, since somebody else still wants it. Pure.

use std::{collections::BTreeSet, num::NonZeroU16};

use super::claim::{Claim, Instance, Kind};
use crate::wanted::{InterfaceName, LocalAddress};

/// What all others on this node want, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    everything: bool,
    claims: BTreeSet<Claim>,
    tables: BTreeSet<(BTreeSet<LocalAddress>, NonZeroU16)>,
}

impl Kept {
    /// What these instances want; of none, nothing.
    #[must_use]
    pub fn of(instances: &[Instance]) -> Self {
        Self {
            everything: false,
            claims: instances.iter().flat_map(|instance| &instance.claims).cloned().collect(),
            tables: instances.iter().flat_map(tables_of).collect(),
        }
    }

    /// All that anybody could want: for when it can't be found out who lives.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether nobody wants anything.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.everything && self.claims.is_empty()
    }

    /// Whether somebody wants this address on this device. On another device it is not the same.
    #[must_use]
    pub fn wants_address(&self, interface: &InterfaceName, address: LocalAddress) -> bool {
        self.any(|claim| claim.address == address && claim.interface == *interface)
    }

    /// Whether somebody wants the rules of this address and port, there. Rules know of no device.
    #[must_use]
    pub fn wants_rules(&self, address: LocalAddress, port: NonZeroU16, kind: Kind) -> bool {
        self.any(|claim| claim.address == address && claim.port == port && claim.rules.may_be_in(kind))
    }

    /// Whether somebody has an address on this device.
    #[must_use]
    pub fn wants_device(&self, interface: &InterfaceName) -> bool {
        self.any(|claim| claim.interface == *interface)
    }

    /// Whether somebody keeps the nftables table of exactly these addresses and this port. One for more or fewer
    /// addresses is another table.
    #[must_use]
    pub fn wants_table(&self, addresses: &BTreeSet<LocalAddress>, port: NonZeroU16) -> bool {
        self.everything || self.tables.iter().any(|(set, at)| set == addresses && *at == port)
    }

    fn any(&self, is_it: impl Fn(&Claim) -> bool) -> bool {
        self.everything || self.claims.iter().any(is_it)
    }
}

/// The tables that an instance has in nftables, or may have: one a port.
fn tables_of(instance: &Instance) -> impl Iterator<Item = (BTreeSet<LocalAddress>, NonZeroU16)> {
    let claims: Vec<&Claim> =
        instance.claims.iter().filter(|claim| claim.rules.may_be_in(Kind::Nftables)).collect();
    let ports: BTreeSet<NonZeroU16> = claims.iter().map(|claim| claim.port).collect();
    ports.into_iter().map(move |port| {
        let at_port = claims.iter().filter(|claim| claim.port == port);
        (at_port.map(|claim| claim.address).collect(), port)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::claim::{InstanceId, Rules},
        *,
    };

    const A: &str = "10.96.0.2";
    const B: &str = "fd00::2";
    const IPTABLES: Rules = Rules::In(Kind::Iptables);
    const NFTABLES: Rules = Rules::In(Kind::Nftables);

    /// Address, port, rules, device.
    type Line = (&'static str, u16, Rules, &'static str);

    fn instance(claims: &[Line]) -> Instance {
        let claim = |(address, at, rules, interface): &Line| Claim {
            address: address.parse().unwrap(),
            port: port(*at),
            rules: *rules,
            interface: interface.parse().unwrap(),
        };
        Instance { id: InstanceId::random(), claims: claims.iter().map(claim).collect() }
    }

    fn port(port: u16) -> NonZeroU16 {
        port.try_into().unwrap()
    }

    fn set(addresses: &[&str]) -> BTreeSet<LocalAddress> {
        addresses.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_and_devices() {
        let cases: &[(&str, &[Instance], bool, bool)] = &[
            ("nobody", &[], false, false),
            ("the same", &[instance(&[(A, 443, Rules::None, "lo")])], true, true),
            ("on another port", &[instance(&[(A, 8443, IPTABLES, "lo")])], true, true),
            ("another address", &[instance(&[(B, 443, Rules::None, "lo")])], false, true),
            ("another device", &[instance(&[(A, 443, Rules::None, "dummy0")])], false, false),
            (
                "two, one of them the same",
                &[instance(&[(B, 443, Rules::None, "eth0")]), instance(&[(A, 443, NFTABLES, "lo")])],
                true,
                true,
            ),
            (
                "two, the device of one and the address of the other",
                &[instance(&[(B, 443, Rules::None, "lo")]), instance(&[(A, 443, NFTABLES, "eth0")])],
                false,
                true,
            ),
        ];
        let lo = "lo".parse().unwrap();
        for (case, instances, address, device) in cases {
            let kept = Kept::of(instances);
            assert_eq!(kept.wants_address(&lo, A.parse().unwrap()), *address, "{case}");
            assert_eq!(kept.wants_device(&lo), *device, "{case}");
            assert_eq!(kept.is_nothing(), instances.is_empty(), "{case}");
        }
    }

    #[test]
    fn rules_by_address_port_and_kind() {
        let cases: &[(&str, &[Line], bool, bool)] = &[
            ("none", &[(A, 443, Rules::None, "lo")], false, false),
            ("iptables", &[(A, 443, IPTABLES, "lo")], true, false),
            ("nftables", &[(A, 443, NFTABLES, "lo")], false, true),
            ("not known yet where", &[(A, 443, Rules::Undecided, "lo")], true, true),
            ("on another device", &[(A, 443, IPTABLES, "eth0")], true, false),
            ("on another port", &[(A, 8443, Rules::Undecided, "lo")], false, false),
            ("of another address", &[(B, 443, Rules::Undecided, "lo")], false, false),
            ("while it changes", &[(A, 443, IPTABLES, "lo"), (A, 443, NFTABLES, "lo")], true, true),
        ];
        for (case, claims, iptables, nftables) in cases {
            let kept = Kept::of(&[instance(claims)]);
            let wants = |kind| kept.wants_rules(A.parse().unwrap(), port(443), kind);
            assert_eq!((wants(Kind::Iptables), wants(Kind::Nftables)), (*iptables, *nftables), "{case}");
        }
    }

    #[test]
    fn tables_by_exactly_their_addresses_and_port() {
        let both = instance(&[(A, 443, NFTABLES, "lo"), (B, 443, NFTABLES, "lo")]);
        let apart = [instance(&[(A, 443, NFTABLES, "lo")]), instance(&[(B, 443, NFTABLES, "lo")])];
        let undecided = instance(&[(A, 443, Rules::Undecided, "lo"), (B, 443, Rules::Undecided, "lo")]);
        let deciding = instance(&[
            (A, 443, Rules::Undecided, "lo"),
            (A, 443, NFTABLES, "lo"),
            (B, 443, Rules::Undecided, "lo"),
        ]);
        let two_ports = instance(&[(A, 443, NFTABLES, "lo"), (B, 8443, NFTABLES, "lo")]);
        let elsewhere = instance(&[(A, 443, IPTABLES, "lo"), (B, 443, IPTABLES, "lo")]);
        let cases: &[(&str, &[Instance], &[&str], bool)] = &[
            ("nobody", &[], &[A], false),
            ("both of both", std::slice::from_ref(&both), &[A, B], true),
            ("one of both", std::slice::from_ref(&both), &[A], false),
            ("two instances have two tables", &apart, &[A, B], false),
            ("each its own", &apart, &[B], true),
            ("perhaps there", &[undecided], &[B, A], true),
            ("while it is decided", &[deciding], &[A, B], true),
            ("one a port", &[two_ports], &[A], true),
            ("none with iptables", &[elsewhere], &[A, B], false),
        ];
        for (case, instances, addresses, kept) in cases {
            assert_eq!(Kept::of(instances).wants_table(&set(addresses), port(443)), *kept, "{case}");
        }
        assert!(!Kept::of(&[both]).wants_table(&set(&[A, B]), port(8443)));
    }

    #[test]
    fn whoever_knows_nothing_keeps_everything() {
        let (kept, lo) = (Kept::everything(), "lo".parse().unwrap());
        assert!(!kept.is_nothing());
        assert!(kept.wants_address(&lo, A.parse().unwrap()));
        assert!(kept.wants_rules(A.parse().unwrap(), port(443), Kind::Iptables));
        assert!(kept.wants_device(&lo));
        assert!(kept.wants_table(&set(&[A]), port(443)));
    }
}
