//! The packet filter rules of an address: what they are (here, pure), and the backends that keep them.

pub mod backend;
pub mod detect;
mod error;
pub mod exec;
pub mod iptables;
pub mod nftables;
pub mod tracker;

use std::{fmt, net::IpAddr, num::NonZeroU16};

pub use self::error::RulesError;
use crate::wanted::LocalAddress;

/// IPv4 or IPv6: each has its own tables and its own programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `iptables`
    V4,
    /// `ip6tables`
    V6,
}

impl Family {
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`, as nf_tables has them.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        })
    }
}

/// A table of iptables(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Before connection tracking.
    Raw,
    /// Accept and drop.
    Filter,
}

impl Table {
    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Filter => "filter",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A built-in chain, with what a rule of ours does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    /// raw: what arrives is not tracked.
    RawPrerouting,
    /// raw: what leaves is not tracked.
    RawOutput,
    /// filter: what arrives is accepted.
    FilterInput,
    /// filter: what leaves is accepted.
    FilterOutput,
}

/// Which end of a packet's path our address and port are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum End {
    Destination,
    Source,
}

/// One rule of ours. Its text reads as `iptables-save` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    address: LocalAddress,
    port: NonZeroU16,
    place: Place,
    end: End,
}

/// The five rules of an address and port, in the order in which they are to be listed.
#[must_use]
pub fn for_address(address: LocalAddress, port: NonZeroU16) -> [Rule; 5] {
    use {End::*, Place::*};
    let rule = |place, end| Rule { address, port, place, end };
    [
        rule(RawPrerouting, Destination),
        rule(RawOutput, Destination),
        rule(RawOutput, Source),
        rule(FilterInput, Destination),
        rule(FilterOutput, Source),
    ]
}

impl Rule {
    /// The address that it is for.
    #[must_use]
    pub fn address(&self) -> LocalAddress {
        self.address
    }

    /// The address family of the tables it belongs into.
    #[must_use]
    pub fn family(&self) -> Family {
        match self.address.ip() {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The table it stands in.
    #[must_use]
    pub fn table(&self) -> Table {
        match self.place {
            Place::RawPrerouting | Place::RawOutput => Table::Raw,
            Place::FilterInput | Place::FilterOutput => Table::Filter,
        }
    }

    /// The chain it stands in.
    #[must_use]
    pub fn chain(&self) -> &'static str {
        match self.place {
            Place::RawPrerouting => "PREROUTING",
            Place::FilterInput => "INPUT",
            Place::RawOutput | Place::FilterOutput => "OUTPUT",
        }
    }

    /// What it matches and does, as arguments of iptables(8).
    #[must_use]
    pub fn spec(&self) -> String {
        let (side, port_side) = match self.end {
            End::Destination => ("-d", "--dport"),
            End::Source => ("-s", "--sport"),
        };
        let target = match self.table() {
            Table::Raw => "NOTRACK",
            Table::Filter => "ACCEPT",
        };
        format!("{side} {} -p tcp -m tcp {port_side} {} -j {target}", self.address, self.port)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-t {} -A {} {}", self.table().name(), self.chain(), self.spec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(address: &str) -> Vec<String> {
        let rules = for_address(address.parse().unwrap(), 443.try_into().unwrap());
        rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_has_five_rules() {
        assert_eq!(
            texts("10.96.0.2"),
            [
                "-t raw -A PREROUTING -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j NOTRACK",
                "-t raw -A OUTPUT -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j NOTRACK",
                "-t raw -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j NOTRACK",
                "-t filter -A INPUT -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j ACCEPT",
                "-t filter -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j ACCEPT",
            ]
        );
        assert_eq!(
            texts("fd00::2")[0],
            "-t raw -A PREROUTING -d fd00::2/128 -p tcp -m tcp --dport 443 -j NOTRACK"
        );
    }
}
