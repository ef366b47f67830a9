//! Matches and targets of xtables, which iptables-nft leaves as they are within nf_tables rules, where nf_tables
//! has nothing of its own for them.
//!
//! Source: `include/uapi/linux/netfilter/xt_{addrtype,iprange,multiport,tcpudp}.h` and `nf_nat.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    packet::{Answer, Packet},
    translation::{Part, Translation},
    walk::Then,
};
use crate::{
    netlink::wire::{u16_at, u32_at},
    rules::Family,
};

/// `XT_ADDRTYPE_LOCAL`
const LOCAL: u16 = 1 << 2;
/// `NF_NAT_RANGE_MAP_IPS`
const MAP_ADDRESS: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`
const MAP_PORT: u32 = 2;
/// Bytes of `struct nf_nat_ipv4_multi_range_compat`, with its padding; every other range is longer.
const COMPAT: usize = 24;

/// What a match says of a packet. `info` is the match's own struct.
#[must_use]
pub fn matches(name: &str, revision: u32, info: &[u8], packet: Packet) -> Answer {
    let answer = match (name, revision) {
        ("comment", _) => Some(Answer::known(true)),
        ("tcp", 0) => tcp(info, packet),
        ("udp" | "udplite" | "sctp" | "dccp" | "icmp" | "icmp6", _) => Some(Answer::known(false)),
        ("multiport", 1) => multiport(info, packet),
        ("addrtype", 1) => addrtype(info, packet),
        ("iprange", 1) => iprange(info, packet),
        _ => None,
    };
    answer.unwrap_or(Answer::UNKNOWN)
}

/// What a target does. Most do nothing that matters here; that some of them end a packet's way is not needed, since
/// it only adds to what is followed.
#[must_use]
pub fn target(name: &str, info: &[u8], packet: Packet) -> Then {
    let translation = match name {
        "DNAT" => dnat(info, packet),
        "REDIRECT" => dnat(info, packet).map(|to| Translation { address: Part::Unknown, ..to }),
        _ => return Then::Next,
    };
    Then::Translate(translation.unwrap_or(Translation { address: Part::Unknown, port: Part::Unknown }))
}

/// `struct xt_tcp`: ports in the machine's byte order.
fn tcp(info: &[u8], packet: Packet) -> Option<Answer> {
    let [source_from, source_to] = [u16_at(info, 0)?, u16_at(info, 2)?];
    let [from, to] = [u16_at(info, 4)?, u16_at(info, 6)?];
    let inverted = *info.get(11)?;
    let port = Answer::of(packet.port, |port| (from..=to).contains(&port)).inverted_if(inverted & 2 != 0);
    let any_source = (source_from, source_to) == (0, u16::MAX) && inverted & 1 == 0;
    let any_flags = info.get(8..10)? == [0, 0];
    Some(match (from, to, port.truth) {
        (.., Some(false)) => port,
        _ if !any_source || !any_flags => Answer::UNKNOWN,
        (0, u16::MAX, _) if inverted & 2 == 0 => Answer::known(true),
        _ => port,
    })
}

/// `struct xt_multiport_v1`
fn multiport(info: &[u8], packet: Packet) -> Option<Answer> {
    const DESTINATION: u8 = 1;
    if *info.first()? != DESTINATION {
        return None;
    }
    let count = usize::from(*info.get(1)?).min(15);
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < count {
        let from = u16_at(info, 2 + 2 * at)?;
        // The flag says that the next one is this range's end.
        let is_range = *info.get(32 + at)? != 0 && at + 1 < count;
        at += usize::from(is_range);
        ranges.push(from..=u16_at(info, 2 + 2 * at)?);
        at += 1;
    }
    let inverted = *info.get(47)? != 0;
    let within = |port| ranges.iter().any(|range| range.contains(&port));
    Some(Answer::of(packet.port, within).inverted_if(inverted))
}

/// `struct xt_addrtype_info_v1`. Our address is one of the node's own.
fn addrtype(info: &[u8], packet: Packet) -> Option<Answer> {
    const INVERT_DESTINATION: u32 = 2;
    let (source, wanted, flags) = (u16_at(info, 0)?, u16_at(info, 2)?, u32_at(info, 4)?);
    if wanted == 0 || source != 0 || flags & !INVERT_DESTINATION != 0 {
        return None;
    }
    let answer = Answer::of_destination(packet.destination, |_| wanted & LOCAL != 0);
    Some(answer.inverted_if(flags & INVERT_DESTINATION != 0))
}

/// `struct xt_iprange_mtinfo`
fn iprange(info: &[u8], packet: Packet) -> Option<Answer> {
    const SOURCE: u8 = 1;
    const DESTINATION: u8 = 2;
    const INVERT_DESTINATION: u8 = 0x20;
    let flags = *info.get(64)?;
    if flags & (SOURCE | DESTINATION) != DESTINATION {
        return None;
    }
    let (from, to) = (address(info, 32, packet)?, address(info, 48, packet)?);
    let answer = Answer::of_destination(packet.destination, |ip| (from..=to).contains(&ip));
    Some(answer.inverted_if(flags & INVERT_DESTINATION != 0))
}

/// `union nf_inet_addr`
fn address(info: &[u8], at: usize, packet: Packet) -> Option<IpAddr> {
    let bytes = info.get(at..)?;
    Some(match packet.family {
        Family::V4 => Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(),
        Family::V6 => Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(),
    })
}

/// `struct nf_nat_range`, its successor with one more field, or for IPv4 its predecessor.
fn dnat(info: &[u8], packet: Packet) -> Option<Translation> {
    let (flags, minimum, maximum, ports) = if info.len() <= COMPAT { (4, 8, 12, 16) } else { (0, 4, 20, 36) };
    let flags = u32_at(info, flags)?;
    let port = |at| u16_at(info, at).map(u16::from_be);
    Some(Translation {
        address: if flags & MAP_ADDRESS == 0 {
            Part::Same
        } else {
            Part::Range(address(info, minimum, packet)?, address(info, maximum, packet)?)
        },
        port: if flags & MAP_PORT == 0 { Part::Same } else { Part::Range(port(ports)?, port(ports + 2)?) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet() -> Packet {
        Packet::to("10.96.0.1".parse().unwrap(), 443)
    }

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn truth(name: &str, revision: u32, info: &[u8]) -> Option<bool> {
        matches(name, revision, info, packet()).truth
    }

    #[test]
    fn ports_of_tcp() {
        let tcp = |source: [u16; 2], ports: [u16; 2], flags: [u8; 4]| {
            truth("tcp", 0, &[words(&source), words(&ports), flags.to_vec()].concat())
        };
        let any = [0, u16::MAX];
        assert_eq!(tcp(any, [443, 443], [0; 4]), Some(true));
        assert_eq!(tcp(any, [1, 442], [0; 4]), Some(false));
        assert_eq!(tcp(any, [443, 443], [0, 0, 0, 2]), Some(false));
        assert_eq!(tcp(any, any, [0; 4]), Some(true));
        assert_eq!(tcp([80, 80], any, [0; 4]), None);
        assert_eq!(tcp([80, 80], [80, 80], [0; 4]), Some(false));
        assert_eq!(tcp(any, any, [0, 2, 2, 0]), None, "--syn");
    }

    #[test]
    fn lists_of_ports() {
        let multiport = |kind: u8, ports: &[u16], ranges: &[u8], inverted: u8| {
            let mut info = vec![kind, u8::try_from(ports.len()).unwrap()];
            info.extend(words(ports));
            info.resize(32, 0);
            info.extend(ranges);
            info.resize(47, 0);
            info.push(inverted);
            truth("multiport", 1, &info)
        };
        assert_eq!(multiport(1, &[80, 443], &[], 0), Some(true));
        assert_eq!(multiport(1, &[80, 8443], &[], 0), Some(false));
        assert_eq!(multiport(1, &[80, 8443], &[], 1), Some(true));
        assert_eq!(multiport(1, &[80, 8443], &[1], 0), Some(true), "80:8443");
        assert_eq!(multiport(1, &[22, 80, 442], &[0, 1], 0), Some(false), "22,80:442");
        assert_eq!(multiport(0, &[443], &[], 0), None, "source ports");
    }

    #[test]
    fn types_of_addresses() {
        let addrtype = |source: u16, wanted: u16, flags: u32| {
            let info = [words(&[source, wanted]), flags.to_ne_bytes().to_vec()].concat();
            matches("addrtype", 1, &info, packet())
        };
        assert_eq!(addrtype(0, LOCAL, 0), Answer { truth: Some(true), names: true });
        assert_eq!(addrtype(0, LOCAL, 2), Answer::known(false));
        assert_eq!(addrtype(0, 2, 0).truth, Some(false));
        assert_eq!(addrtype(LOCAL, 0, 0), Answer::UNKNOWN);
        assert_eq!(addrtype(0, LOCAL, 4), Answer::UNKNOWN, "only on one interface");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(info in proptest::collection::vec(any::<u8>(), 0..80), revision in 0u32..3) {
            for packet in [packet(), Packet::to("fd00::2".parse().unwrap(), 443), Packet::any(Family::V4)] {
                for name in ["tcp", "multiport", "addrtype", "iprange", "comment", "statistic"] {
                    let _ = matches(name, revision, &info, packet);
                }
                for name in ["DNAT", "REDIRECT", "MARK"] {
                    let _ = target(name, &info, packet);
                }
            }
        }
    }
}
