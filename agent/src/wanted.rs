//! What is to be there: addresses, an interface, rules. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
    str::FromStr,
};

use ipnet::IpNet;

use crate::rules::{self, Rule};

/// Everything one agent keeps in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The device that carries the addresses.
    pub interface: InterfaceName,
    /// At least one, each once.
    pub addresses: Vec<LocalAddress>,
    /// The port that the proxy listens on, and that the rules are for.
    pub port: NonZeroU16,
    /// In the order in which they are to stand in their chains; empty without `--setup-iptables`.
    pub rules: Vec<Rule>,
}

impl Wanted {
    /// Puts together what the flags ask for; without `with_rules`, addresses alone.
    #[must_use]
    pub fn new(
        interface: InterfaceName,
        addresses: Vec<LocalAddress>,
        port: NonZeroU16,
        with_rules: bool,
    ) -> Self {
        let rules = if with_rules {
            addresses.iter().flat_map(|address| rules::for_address(*address, port)).collect()
        } else {
            Vec::new()
        };
        Self { interface, addresses, port, rules }
    }
}

/// An address that can be made local to a node: a host address that other machines could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalAddress(IpAddr);

impl LocalAddress {
    /// The address itself.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// With its prefix: /32 or /128.
    #[must_use]
    pub fn net(self) -> IpNet {
        IpNet::from(self.0)
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net().fmt(f)
    }
}

/// Why a text is no address for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Not an address at all.
    #[error("not an IP address; write one such as 10.96.0.2 or fd00::2, without a prefix length")]
    Syntax,
    /// An address that means something else already.
    #[error("{0} address; give a unicast address that the proxy can have for itself")]
    Reserved(&'static str),
}

impl FromStr for LocalAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let ip: IpAddr = text.parse().map_err(|_| BadAddress::Syntax)?;
        let reserved = match ip {
            _ if ip.is_unspecified() => Some("an unspecified"),
            _ if ip.is_multicast() => Some("a multicast"),
            _ if ip.is_loopback() => Some("a loopback"),
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some("a broadcast"),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4-mapped"),
            // Deprecated by RFC 4291; programs don't agree on how to write them.
            IpAddr::V6(v6) if v6.to_ipv4().is_some() => Some("an IPv4-compatible"),
            _ => None,
        };
        reserved.map_or(Ok(Self(ip)), |what| Err(BadAddress::Reserved(what)))
    }
}

/// A name that Linux takes for a network device (`dev_valid_name`: 1 to 15 bytes, no `/`, `:` or white space).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no device name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a device name; Linux takes 1 to 15 bytes without '/', ':' or white space, such as lo")]
pub struct BadInterfaceName;

impl FromStr for InterfaceName {
    type Err = BadInterfaceName;

    fn from_str(text: &str) -> Result<Self, BadInterfaceName> {
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if (1..=15).contains(&text.len()) && text != "." && text != ".." && !text.contains(bad) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadInterfaceName)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_addresses() {
        for (text, shown) in [
            ("10.96.0.2", "10.96.0.2/32"),
            ("240.0.0.1", "240.0.0.1/32"),
            ("169.254.20.10", "169.254.20.10/32"),
            ("fd00::2", "fd00::2/128"),
            ("FD00:0::2", "fd00::2/128"),
        ] {
            assert_eq!(text.parse::<LocalAddress>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn addresses_that_mean_something_else_are_refused() {
        for (text, what) in [
            ("0.0.0.0", "an unspecified"),
            ("::", "an unspecified"),
            ("224.0.0.1", "a multicast"),
            ("ff02::1", "a multicast"),
            ("255.255.255.255", "a broadcast"),
            ("127.0.0.1", "a loopback"),
            ("127.9.9.9", "a loopback"),
            ("::1", "a loopback"),
            ("::ffff:10.96.0.2", "an IPv4-mapped"),
            ("::10.96.0.2", "an IPv4-compatible"),
            ("::2", "an IPv4-compatible"),
        ] {
            assert_eq!(text.parse::<LocalAddress>(), Err(BadAddress::Reserved(what)), "{text}");
        }
        for text in
            ["", " ", "10.96.0.2/32", "10.96.0", "010.96.0.2", "fd00::2%lo", "localhost", "10.96.0.2 "]
        {
            assert_eq!(text.parse::<LocalAddress>(), Err(BadAddress::Syntax), "{text:?}");
        }
    }

    #[test]
    fn interface_names_are_linux_names() {
        for good in ["lo", "eth0", "a", "fifteen-bytes-1", "br-0.1@x"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "eth0:1", "sixteen-bytes-xx", "new\nline"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
    }
}
