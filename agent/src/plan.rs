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
    /// It has our mark (IFLA_IFALIAS).
    pub ours: bool,
}

/// An address as observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// With its prefix.
    pub net: IpNet,
    /// The number of its device.
    pub index: u32,
    /// It has our mark (IFA_PROTO).
    pub marked: bool,
}

/// Whose an address is that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// `--adopt`: ours, if it is identical.
    pub adopt: bool,
    /// The kernel keeps marks.
    pub marks: bool,
}

/// One change to the device or its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressChange {
    /// Bring the device up.
    LinkUp,
    /// Add an address, marked.
    Add(LocalAddress),
    /// Mark an address that is there, in place.
    Mark(LocalAddress),
    /// Remove an address.
    Remove {
        /// Which.
        address: LocalAddress,
        /// The number of the device.
        index: u32,
    },
}

/// What it takes to have all wanted addresses on a device, given the addresses there.
///
/// An address that is there already counts, whatever put it there. An IPv6 address counts with any prefix
/// length, since the kernel allows it once a device.
#[must_use]
pub fn addresses_up(
    wanted: &Wanted,
    ownership: Ownership,
    link: Link,
    present: &[Present],
) -> Vec<AddressChange> {
    // Only the loopback device and our own are ours to bring up.
    let link_up = (!link.up && (link.loopback || link.ours)).then_some(AddressChange::LinkUp);
    let on_it = || present.iter().filter(|present| present.index == link.index);
    let to_do = wanted.addresses.iter().filter_map(|address| {
        if let Some(identical) = on_it().find(|present| present.net == address.net()) {
            let mark = ownership.adopt && ownership.marks && !identical.marked;
            return mark.then_some(AddressChange::Mark(*address));
        }
        let in_the_way = address.ip().is_ipv6() && on_it().any(|present| present.net.addr() == address.ip());
        (!in_the_way).then_some(AddressChange::Add(*address))
    });
    link_up.into_iter().chain(to_do).collect()
}

/// Wanted addresses of ours on other devices, where an earlier `--interface` put them.
#[must_use]
pub fn strays(wanted: &Wanted, link: Link, present: &[Present]) -> Vec<AddressChange> {
    let elsewhere = present.iter().filter(|present| present.index != link.index && present.marked);
    elsewhere
        .filter_map(|present| {
            let address = wanted.addresses.iter().find(|address| address.net() == present.net)?;
            Some(AddressChange::Remove { address: *address, index: present.index })
        })
        .collect()
}

/// What it takes to have none of our addresses on a device. Only identical ones go: the same address with another
/// prefix length is somebody else's. `ours` says of an address that is not marked whether it is ours all the same.
#[must_use]
pub fn addresses_down(
    wanted: &Wanted,
    link: Link,
    present: &[Present],
    ours: impl Fn(LocalAddress) -> bool,
) -> Vec<AddressChange> {
    let there = |address: &LocalAddress| {
        let mut on_it = present.iter().filter(|present| present.index == link.index);
        on_it.any(|present| present.net == address.net() && (present.marked || ours(*address)))
    };
    let going = wanted.addresses.iter().filter(|address| there(address));
    going.map(|address| AddressChange::Remove { address: *address, index: link.index }).collect()
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
    use AddressChange::{Add, LinkUp, Mark, Remove};

    fn wanted(addresses: &[&str]) -> Wanted {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Wanted::new("lo".parse().unwrap(), addresses, 443.try_into().unwrap(), true)
    }

    const UP: Link = Link { index: 1, up: true, loopback: true, ours: false };
    const DOWN: Link = Link { up: false, ..UP };
    const THEIRS: Link = Link { loopback: false, ..DOWN };
    const ADOPT: Ownership = Ownership { adopt: true, marks: true };

    /// On device 1, or after an `@` on another; marked where a `!` says so.
    fn present(texts: &[&str]) -> Vec<Present> {
        let parse = |text: &&str| {
            let (net, index) = text.split_once('@').unwrap_or((text, "1"));
            let index = index.parse().unwrap();
            Present { net: net.trim_end_matches('!').parse().unwrap(), index, marked: net.ends_with('!') }
        };
        texts.iter().map(parse).collect()
    }

    fn v4() -> LocalAddress {
        "10.96.0.2".parse().unwrap()
    }

    fn v6() -> LocalAddress {
        "fd00::2".parse().unwrap()
    }

    #[test]
    fn addresses_on_the_way_up() {
        let both = ["10.96.0.2/32!", "fd00::2/128!"];
        let cases: &[(&str, Link, &[&str], &[AddressChange])] = &[
            ("nothing there", UP, &[], &[Add(v4()), Add(v6())]),
            ("all there", UP, &["127.0.0.1/8", "fd00::2/128!", "10.96.0.2/32!"], &[]),
            ("all there, but not marked", UP, &["10.96.0.2/32", "fd00::2/128"], &[Mark(v4()), Mark(v6())]),
            ("one missing", UP, &["10.96.0.2/32!"], &[Add(v6())]),
            ("on another device", UP, &["10.96.0.2/32!", "fd00::2/128!@2"], &[Add(v6())]),
            ("IPv4 with another prefix is another", UP, &["10.96.0.2/24", "fd00::2/128!"], &[Add(v4())]),
            ("IPv6 with another prefix is in the way, and local", UP, &["10.96.0.2/32!", "fd00::2/64"], &[]),
            ("loopback down", DOWN, &both, &[LinkUp]),
            ("loopback down and empty", DOWN, &[], &[LinkUp, Add(v4()), Add(v6())]),
            ("another's device is left down", THEIRS, &both, &[]),
            ("our device is brought up", Link { ours: true, ..THEIRS }, &both, &[LinkUp]),
        ];
        for (case, link, there, changes) in cases {
            let wanted = wanted(&["10.96.0.2", "fd00::2"]);
            assert_eq!(addresses_up(&wanted, ADOPT, *link, &present(there)), *changes, "{case}");
        }
        for ownership in [Ownership { adopt: false, ..ADOPT }, Ownership { marks: false, ..ADOPT }] {
            assert_eq!(addresses_up(&wanted(&["10.96.0.2"]), ownership, UP, &present(&["10.96.0.2/32"])), []);
        }
    }

    #[test]
    fn addresses_on_the_way_down() {
        let (remove4, remove6) = (Remove { address: v4(), index: 1 }, Remove { address: v6(), index: 1 });
        let cases: &[(&str, bool, &[&str], &[AddressChange])] = &[
            ("nothing left", true, &["127.0.0.1/8"], &[]),
            ("both there, unmarked", true, &["10.96.0.2/32", "fd00::2/128"], &[remove4, remove6]),
            ("one of them marked", false, &["10.96.0.2/32!", "fd00::2/128"], &[remove4]),
            ("other prefixes are foreign", true, &["10.96.0.2/24", "fd00::2/64"], &[]),
            ("other devices are left alone", true, &["10.96.0.2/32!@2"], &[]),
        ];
        for (case, ours, there, changes) in cases {
            let wanted = wanted(&["10.96.0.2", "fd00::2"]);
            assert_eq!(addresses_down(&wanted, UP, &present(there), |_| *ours), *changes, "{case}");
        }
    }

    #[test]
    fn strays_are_marked_and_elsewhere() {
        let there =
            ["10.96.0.2/32!", "10.96.0.2/32!@2", "10.96.0.2/32@3", "10.96.0.9/32!@2", "10.96.0.2/24!@4"];
        let stray = Remove { address: v4(), index: 2 };
        assert_eq!(strays(&wanted(&["10.96.0.2"]), UP, &present(&there)), [stray]);
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
