//! The values of options as iptables prints them: addresses, ports, lists and ranges of them. Pure.
//!
//! Source: iptables(8), iptables-extensions(8).

use std::{net::IpAddr, ops::RangeInclusive};

use super::{
    packet::{Answer, Packet},
    translation::{Part, Translation},
};

/// `ADDRESS`, `ADDRESS:PORT`, `:PORT`, `[ADDRESS]:PORT`, each with a range instead of one, and `/OFFSET` at the end.
#[must_use]
pub fn destination(text: &str) -> Translation {
    let (addresses, ports) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((addresses, rest)) => (addresses, rest.strip_prefix(':')),
        // More than one colon: an IPv6 address without a port.
        None => match text.split_once(':') {
            Some((addresses, ports)) if !ports.contains(':') => (addresses, Some(ports)),
            _ => (text, None),
        },
    };
    let ends = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some(Part::Range(from.parse().ok()?, to.parse().ok()?))
    };
    let port = ports.map(|ports| ports.split('/').next().unwrap_or_default());
    Translation {
        address: if addresses.is_empty() { Part::Same } else { ends(addresses).unwrap_or(Part::Unknown) },
        port: port.map_or(Part::Same, |port| range(port).map_or(Part::Unknown, part)),
    }
}

/// The ports of a rule as a part of a new destination.
#[must_use]
pub fn part(range: RangeInclusive<u16>) -> Part<u16> {
    Part::Range(*range.start(), *range.end())
}

/// `PORT`, `FROM:TO`, `FROM-TO`; an end that is left out is the first or the last port.
#[must_use]
pub fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str, absent| if text.is_empty() { Some(absent) } else { text.parse().ok() };
    match text.split_once([':', '-']) {
        Some((from, to)) => Some(port(from, 0)?..=port(to, u16::MAX)?),
        None => text.parse().ok().map(|port| port..=port),
    }
}

/// Whether the packet's port is among those listed.
#[must_use]
pub fn ports<'t>(listed: impl Iterator<Item = &'t str>, packet: Packet) -> Answer {
    match listed.map(range).collect::<Option<Vec<_>>>() {
        Some(ranges) => Answer::of(packet.port, |port| ranges.iter().any(|range| range.contains(&port))),
        None => Answer::UNKNOWN,
    }
}

/// `-d ADDRESS`, with a prefix length or a mask, which need not be that of a prefix.
#[must_use]
pub fn network(text: &str, packet: Packet) -> Answer {
    let (network, mask) = text.split_once('/').unwrap_or((text, ""));
    let Ok(network) = network.parse::<IpAddr>() else { return Answer::UNKNOWN };
    let bits: u32 = if network.is_ipv4() { 32 } else { 128 };
    let mask = match mask.parse::<IpAddr>() {
        Ok(mask) => number(mask),
        Err(_) if mask.is_empty() => u128::MAX,
        Err(_) => match mask.parse::<u32>() {
            Ok(length) if length <= bits => u128::MAX.checked_shl(bits - length).unwrap_or(0),
            _ => return Answer::UNKNOWN,
        },
    };
    Answer::of_destination(packet.destination, |address| {
        address.is_ipv4() == network.is_ipv4() && (number(address) ^ number(network)) & mask == 0
    })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// `--dst-range FROM-TO`
#[must_use]
pub fn addresses(text: &str, packet: Packet) -> Answer {
    let ends = text.split_once('-').map(|(from, to)| (from.parse::<IpAddr>(), to.parse::<IpAddr>()));
    let Some((Ok(from), Ok(to))) = ends else { return Answer::UNKNOWN };
    Answer::of_destination(packet.destination, |address| (from..=to).contains(&address))
}

/// `--dst-type TYPE,TYPE`. Our address is one of the node's own.
#[must_use]
pub fn local(types: &str, packet: Packet) -> Answer {
    Answer::of_destination(packet.destination, |_| types.split(',').any(|kind| kind == "LOCAL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read() {
        let same = |text: &str| Part::Range(text.parse::<IpAddr>().unwrap(), text.parse().unwrap());
        let [v4, v6] = [same("10.0.0.1"), same("fd00::1")];
        for (text, address, port) in [
            ("10.0.0.1", v4, Part::Same),
            ("10.0.0.1:6443", v4, Part::Range(6443, 6443)),
            ("10.0.0.1:80-90/3", v4, Part::Range(80, 90)),
            (":80", Part::Same, Part::Range(80, 80)),
            ("fd00::1", v6, Part::Same),
            ("[fd00::1]:443", v6, Part::Range(443, 443)),
            ("[fd00::1-fd00::1]:443", v6, Part::Range(443, 443)),
            ("10.0.0.1-10.0.0.1", v4, Part::Same),
            ("somewhere", Part::Unknown, Part::Same),
            ("10.0.0.1:http", v4, Part::Unknown),
        ] {
            assert_eq!(destination(text), Translation { address, port }, "{text}");
        }
    }
}
