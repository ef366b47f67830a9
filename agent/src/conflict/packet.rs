//! The packet whose way is looked for, as far as it is known, and what a rule's condition says of it.

use std::net::IpAddr;

use crate::rules::Family;

/// IPPROTO_TCP
pub const TCP: u8 = 6;

/// A TCP packet of which at most the destination is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Where it goes, if that is asked about.
    pub destination: Option<IpAddr>,
    /// The port it goes to, if that is asked about.
    pub port: Option<u16>,
}

/// One byte of a packet or of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// Its value, where it is known.
    pub value: Option<u8>,
    /// Whether it comes from the destination address.
    pub destination: bool,
}

impl Cell {
    /// A byte that has nothing to do with the address.
    #[must_use]
    pub fn of(value: u8) -> Self {
        Self { value: Some(value), destination: false }
    }
}

impl Packet {
    /// A packet of which only the family is known.
    #[must_use]
    pub fn any(family: Family) -> Self {
        Self { family, destination: None, port: None }
    }

    /// A packet to an address and port.
    #[must_use]
    pub fn to(destination: IpAddr, port: u16) -> Self {
        let family = if destination.is_ipv4() { Family::V4 } else { Family::V6 };
        Self { family, destination: Some(destination), port: Some(port) }
    }

    /// A byte of the network header (RFC 791, RFC 8200).
    #[must_use]
    pub fn network(&self, at: usize) -> Cell {
        let (protocol, address) = match self.family {
            Family::V4 => (9, 16),
            Family::V6 => (6, 24),
        };
        if at == protocol {
            return Cell::of(TCP);
        }
        let value = at.checked_sub(address).and_then(|at| match self.destination? {
            IpAddr::V4(ip) => ip.octets().get(at).copied(),
            IpAddr::V6(ip) => ip.octets().get(at).copied(),
        });
        Cell { value, destination: value.is_some() }
    }

    /// A byte of the TCP header (RFC 9293).
    #[must_use]
    pub fn transport(&self, at: usize) -> Cell {
        let port = self.port.map(u16::to_be_bytes);
        let value = at.checked_sub(2).and_then(|at| port?.get(at).copied());
        Cell { value, destination: false }
    }
}

/// What a condition says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Whether it holds, where that can be known.
    pub truth: Option<bool>,
    /// Whether it asks for the packet's destination address, positively: not for all but another.
    pub names: bool,
}

impl Answer {
    /// Nobody can say.
    pub const UNKNOWN: Self = Self { truth: None, names: false };

    /// Something that has nothing to do with the address.
    #[must_use]
    pub fn known(truth: bool) -> Self {
        Self { truth: Some(truth), names: false }
    }

    /// Something that is known if the packet's part is.
    #[must_use]
    pub fn of<T>(part: Option<T>, holds: impl FnOnce(T) -> bool) -> Self {
        Self { truth: part.map(holds), names: false }
    }

    /// A question for the destination address.
    #[must_use]
    pub fn of_destination(part: Option<IpAddr>, holds: impl FnOnce(IpAddr) -> bool) -> Self {
        Self { truth: part.map(holds), names: part.is_some() }
    }

    /// The contrary, if `inverted`. "Any address but this one" names none.
    #[must_use]
    pub fn inverted_if(self, inverted: bool) -> Self {
        if inverted { Self { truth: self.truth.map(|truth| !truth), names: false } } else { self }
    }
}

/// What all conditions of a rule together say of a packet that fits, or may fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Whether it fits for sure.
    pub certain: bool,
    /// Whether the rule asks for the packet's destination address.
    pub names: bool,
}

impl Fit {
    /// A rule without conditions.
    pub const ALL: Self = Self { certain: true, names: false };

    /// With one more condition; nothing if that does not hold.
    #[must_use]
    pub fn and(self, answer: Answer) -> Option<Self> {
        (answer.truth != Some(false)).then_some(Self {
            certain: self.certain && answer.truth == Some(true),
            names: self.names || answer.names,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_laid_out_as_on_the_wire() {
        let packet = Packet::to("10.96.0.1".parse().unwrap(), 443);
        let address: Vec<_> = (16..20).map(|at| packet.network(at)).collect();
        assert_eq!(address.iter().map(|cell| cell.value).collect::<Vec<_>>(), [10, 96, 0, 1].map(Some));
        assert!(address.iter().all(|cell| cell.destination));
        assert_eq!(packet.network(9), Cell::of(TCP));
        assert_eq!([15, 20].map(|at| packet.network(at)), [Cell::default(); 2]);
        assert_eq!([1, 2, 3, 4].map(|at| packet.transport(at).value), [None, Some(1), Some(0xbb), None]);
        let packet = Packet::to("fd00::2".parse().unwrap(), 443);
        assert_eq!([24, 39, 40].map(|at| packet.network(at).value), [Some(0xfd), Some(2), None]);
        assert_eq!(packet.network(6), Cell::of(TCP));
    }

    #[test]
    fn conditions_add_up() {
        let named = Answer { truth: Some(true), names: true };
        assert_eq!(Fit::ALL.and(named), Some(Fit { certain: true, names: true }));
        assert_eq!(Fit::ALL.and(named.inverted_if(true)), None);
        assert_eq!(Fit::ALL.and(Answer::UNKNOWN), Some(Fit { certain: false, names: false }));
        assert_eq!(Fit::ALL.and(Answer::known(false).inverted_if(true)), Some(Fit::ALL));
    }
}
