//! curl and libcurl.
//!
//! Source: `check_noproxy` in `lib/url.c` up to 7.85; `Curl_check_noproxy` in `lib/noproxy.c` from 7.86;
//! `proxy_check_noproxy` in `lib/proxy.c` from 8.21. `*` counts only where it is all there is, and a trailing dot of a
//! host or member counts only in the old one. The list may have blanks for commas; from 8.9 on, what follows such a blank
//! is not read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Target, Verdict, is_or_is_below};

/// Before 7.86: members are ends of names, for addresses as well.
pub(super) fn before_cidrs<'a>(target: &Target, list: &'a str) -> Verdict<'a> {
    first(list, true, |member| is_or_is_below(&target.host, member.strip_prefix('.').unwrap_or(member)))
}

/// From 7.86: names are compared with members as names, and addresses with addresses and CIDRs. Until 8.17 an IPv6
/// address is taken for a name, so that it matches only as it is written, or shorter (`ipv6_parse` in `lib/urlapi.c`).
pub(super) fn with_cidrs<'a>(target: &Target, list: &'a str, is_new: bool) -> Verdict<'a> {
    match target.address {
        Some(IpAddr::V4(address)) => first(list, !is_new, |member| holds_v4(address, member)),
        Some(IpAddr::V6(address)) if is_new => first(list, false, |member| holds_v6(address, member)),
        address => {
            let short = address.map(|address| address.to_string());
            let name = short.filter(|short| short.len() < target.host.len()).unwrap_or(target.host.clone());
            let name = name.strip_suffix('.').unwrap_or(&name);
            first(list, !is_new, |member| {
                let member = member.strip_suffix('.').unwrap_or(member);
                is_or_is_below(name, member.strip_prefix('.').unwrap_or(member))
            })
        }
    }
}

fn first<'a>(list: &'a str, blanks_separate: bool, is_meant: impl Fn(&str) -> bool) -> Verdict<'a> {
    if list == "*" {
        return Verdict::Member(list);
    }
    let member = members(list, blanks_separate).into_iter().find(|member| is_meant(member));
    member.map_or(Verdict::Proxy, Verdict::Member)
}

fn members(list: &str, blanks_separate: bool) -> Vec<&str> {
    let mut members = Vec::new();
    for part in list.split(',') {
        let mut words = part.split([' ', '\t']).filter(|word| !word.is_empty());
        members.extend(words.next());
        match words.next() {
            Some(word) if blanks_separate => members.extend(std::iter::once(word).chain(words)),
            Some(_) => break,
            None => {}
        }
    }
    members
}

/// The network, and how many bits count: all where none are given, and, by `cidr4_match` and `cidr6_match`, where
/// zero are.
fn network(member: &str, all: u32) -> Option<(&str, u32)> {
    let (network, bits) = match member.split_once('/') {
        Some((network, bits)) => (network, bits.parse().ok()?),
        None => (member, 0),
    };
    (bits <= all).then_some((network, if bits == 0 { all } else { bits }))
}

fn holds_v4(address: Ipv4Addr, member: &str) -> bool {
    let Some((network, bits)) = network(member, 32) else { return false };
    let Ok(network) = network.parse::<Ipv4Addr>() else { return false };
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
}

fn holds_v6(address: Ipv6Addr, member: &str) -> bool {
    let Some((network, bits)) = network(member, 128) else { return false };
    let Ok(network) = network.parse::<Ipv6Addr>() else { return false };
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
}
