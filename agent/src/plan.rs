//! What to change, given what was seen. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::{
    rules::Rule,
    wanted::{LocalAddress, Wanted},
};

/// A network device as observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// The loopback device (IFF_LOOPBACK).
    pub loopback: bool,
}

/// One change to the device or its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressChange {
    /// Bring the device up.
    LinkUp,
    /// Add an address.
    Add(LocalAddress),
    /// Remove an address.
    Remove(LocalAddress),
}

/// What it takes to have all wanted addresses on a device that carries `present`.
///
/// An address that is there already counts, whatever put it there. An IPv6 address counts with any prefix
/// length, since the kernel allows it once a device.
#[must_use]
pub fn addresses_up(wanted: &Wanted, link: Link, present: &[IpNet]) -> Vec<AddressChange> {
    let there = |wanted: &LocalAddress| {
        let one_per_device = wanted.ip().is_ipv6();
        present.iter().any(|net| *net == wanted.net() || (one_per_device && net.addr() == wanted.ip()))
    };
    // Only the loopback device is known to be ours to bring up.
    let link_up = (!link.up && link.loopback).then_some(AddressChange::LinkUp);
    let missing = wanted.addresses.iter().filter(|address| !there(address));
    link_up.into_iter().chain(missing.copied().map(AddressChange::Add)).collect()
}

/// What it takes to have none of the wanted addresses. Only identical ones go: the same address with another
/// prefix length is somebody else's.
#[must_use]
pub fn addresses_down(wanted: &Wanted, present: &[IpNet]) -> Vec<AddressChange> {
    let there = |address: &&LocalAddress| present.contains(&address.net());
    wanted.addresses.iter().filter(there).copied().map(AddressChange::Remove).collect()
}

/// The rules to insert, in the order in which to insert them: each goes to the head of its chain, so the last
/// of a chain comes first. A rule that `copies` does not know of could not be looked for, and is left alone.
#[must_use]
pub fn rules_to_insert(wanted: &[Rule], copies: &BTreeMap<Rule, usize>) -> Vec<Rule> {
    wanted.iter().rev().filter(|rule| copies.get(rule) == Some(&0)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use AddressChange::{Add, LinkUp, Remove};

    fn wanted(addresses: &[&str]) -> Wanted {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Wanted::new("lo".parse().unwrap(), addresses, 443.try_into().unwrap(), true)
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const UP: Link = Link { index: 1, up: true, loopback: true };
    const DOWN: Link = Link { up: false, ..UP };

    #[test]
    fn addresses_on_the_way_up() {
        let (v4, v6) = ("10.96.0.2".parse().unwrap(), "fd00::2".parse().unwrap());
        let cases: &[(&str, Link, &[&str], &[AddressChange])] = &[
            ("nothing there", UP, &[], &[Add(v4), Add(v6)]),
            ("all there", UP, &["127.0.0.1/8", "fd00::2/128", "10.96.0.2/32"], &[]),
            ("one missing", UP, &["10.96.0.2/32"], &[Add(v6)]),
            ("IPv4 with another prefix is another address", UP, &["10.96.0.2/24", "fd00::2/128"], &[Add(v4)]),
            ("IPv6 with another prefix is in the way, and local", UP, &["10.96.0.2/32", "fd00::2/64"], &[]),
            ("loopback down", DOWN, &["10.96.0.2/32", "fd00::2/128"], &[LinkUp]),
            ("loopback down and empty", DOWN, &[], &[LinkUp, Add(v4), Add(v6)]),
            ("another's device is left down", Link { loopback: false, ..DOWN }, &[], &[Add(v4), Add(v6)]),
        ];
        for (case, link, present, changes) in cases {
            assert_eq!(
                addresses_up(&wanted(&["10.96.0.2", "fd00::2"]), *link, &nets(present)),
                *changes,
                "{case}"
            );
        }
    }

    #[test]
    fn addresses_on_the_way_down() {
        let (v4, v6) = ("10.96.0.2".parse().unwrap(), "fd00::2".parse().unwrap());
        let cases: &[(&str, &[&str], &[AddressChange])] = &[
            ("nothing left", &["127.0.0.1/8"], &[]),
            ("both there", &["10.96.0.2/32", "fd00::2/128"], &[Remove(v4), Remove(v6)]),
            ("other prefixes are foreign", &["10.96.0.2/24", "fd00::2/64"], &[]),
        ];
        for (case, present, changes) in cases {
            assert_eq!(
                addresses_down(&wanted(&["10.96.0.2", "fd00::2"]), &nets(present)),
                *changes,
                "{case}"
            );
        }
    }

    #[test]
    fn missing_rules_are_inserted_last_first() {
        let rules = wanted(&["10.96.0.2"]).rules;
        let all: Vec<Rule> = rules.iter().rev().copied().collect();
        let copies = |counts: [usize; 5]| rules.iter().copied().zip(counts).collect::<BTreeMap<_, _>>();
        assert_eq!(rules_to_insert(&rules, &copies([0; 5])), all);
        assert_eq!(rules_to_insert(&rules, &copies([1; 5])), []);
        assert_eq!(rules_to_insert(&rules, &copies([1, 2, 0, 1, 1])), [rules[2]]);
        assert_eq!(rules_to_insert(&rules, &BTreeMap::new()), [], "nothing is known of them");
    }
}
