//! What a DNAT makes of a packet's destination. Pure.

use std::net::IpAddr;

use super::packet::Packet;

/// A part of a new destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part<T> {
    /// It stays as it is.
    Same,
    /// It can't be told from the rule.
    Unknown,
    /// From, to, both included.
    Range(T, T),
}

/// What a DNAT or a redirection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Translation {
    /// The new address.
    pub address: Part<IpAddr>,
    /// The new port.
    pub port: Part<u16>,
}

impl<T: PartialEq> Part<T> {
    /// Whether it is always `this`, or stays so.
    fn keeps(&self, this: Option<&T>) -> bool {
        match self {
            Self::Same => true,
            Self::Unknown => false,
            Self::Range(from, to) => from == to && Some(from) == this,
        }
    }
}

impl Translation {
    /// Whether a packet still goes to where it was sent.
    #[must_use]
    pub fn keeps(&self, packet: Packet) -> bool {
        self.address.keeps(packet.destination.as_ref()) && self.port.keeps(packet.port.as_ref())
    }

    /// Whether packets are sent to this address and port; to any port, if it stays or can't be told.
    #[must_use]
    pub fn leads_to(&self, address: IpAddr, port: u16) -> bool {
        let to_address = match self.address {
            Part::Range(from, to) => (from..=to).contains(&address) && from.is_ipv4() == address.is_ipv4(),
            Part::Same | Part::Unknown => false,
        };
        to_address
            && match self.port {
                Part::Range(from, to) => (from..=to).contains(&port),
                Part::Same | Part::Unknown => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_with_or_without_a_port() {
        let [ours, next]: [IpAddr; 2] = ["10.0.0.5".parse().unwrap(), "10.0.0.6".parse().unwrap()];
        let to = |address, port| Translation { address, port }.leads_to(ours, 443);
        assert!(to(Part::Range(ours, ours), Part::Range(443, 443)));
        assert!(to(Part::Range(ours, next), Part::Range(80, 500)));
        assert!(to(Part::Range(ours, ours), Part::Same));
        assert!(!to(Part::Range(ours, ours), Part::Range(80, 80)));
        assert!(!to(Part::Range(next, next), Part::Range(443, 443)));
        assert!(!to(Part::Same, Part::Range(443, 443)) && !to(Part::Unknown, Part::Same));
    }
}
