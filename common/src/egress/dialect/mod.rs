//! How programs read `NO_PROXY`.
//!
//! There is no standard. Each file in here follows one family of programs, from its source; where the programs were
//! at hand, `testdata/egress/dialects.tsv` has what they did, and the tests hold the files against it.

mod curl;
mod go;
mod python;
mod ruby;
#[cfg(test)]
mod tests;
mod wget;

use std::{fmt, net::IpAddr, str::FromStr};

use super::names::is_host;

/// One way to read the variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// curl and libcurl before 7.86: no CIDRs.
    CurlOld,
    /// From 7.86 to 8.17: CIDRs of IPv4.
    Curl,
    /// From 8.18 on: CIDRs of IPv6 as well.
    CurlNew,
    /// GNU Wget.
    Wget,
    /// Go's `net/http`, and so kubelet, containerd and most of Kubernetes.
    Go,
    /// Python's `requests`.
    Requests,
    /// Python's own `urllib`.
    Urllib,
    /// Ruby's `Net::HTTP` and `OpenURI`.
    Ruby,
    /// Java's own clients, which read no such variable at all: neither proxy nor `NO_PROXY`.
    Java,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::CurlOld,
        Self::Curl,
        Self::CurlNew,
        Self::Wget,
        Self::Go,
        Self::Requests,
        Self::Urllib,
        Self::Ruby,
        Self::Java,
    ];

    /// Which way a host is reached with this `NO_PROXY`, if a proxy is set for it.
    #[must_use]
    pub fn way<'a>(self, target: &Target, no_proxy: &'a str) -> Verdict<'a> {
        match self {
            Self::CurlOld => curl::before_cidrs(target, no_proxy),
            Self::Curl => curl::with_cidrs(target, no_proxy, false),
            Self::CurlNew => curl::with_cidrs(target, no_proxy, true),
            Self::Wget => wget::way(target, no_proxy),
            Self::Go => go::way(target, no_proxy),
            Self::Requests => python::requests(target, no_proxy),
            Self::Urllib => python::urllib(target, no_proxy),
            Self::Ruby => ruby::way(target, no_proxy),
            Self::Java => Verdict::Unread,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CurlOld => "curl before 7.86",
            Self::Curl => "curl 7.86 to 8.17",
            Self::CurlNew => "curl from 8.18",
            Self::Wget => "wget",
            Self::Go => "Go",
            Self::Requests => "Python requests",
            Self::Urllib => "Python urllib",
            Self::Ruby => "Ruby",
            Self::Java => "Java",
        })
    }
}

/// Which way a host is reached, and what decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Through the proxy: no member is about this host.
    Proxy,
    /// Past the proxy, because of this member.
    Member(&'a str),
    /// Past the proxy, whatever the list says: it is the machine itself.
    Loopback,
    /// Past the proxy: the program reads no such variable.
    Unread,
}

impl Verdict<'_> {
    /// Whether the proxy is used.
    #[must_use]
    pub fn is_proxy(self) -> bool {
        self == Verdict::Proxy
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy => f.write_str("through the proxy"),
            Self::Member(member) => write!(f, "direct, by {member}"),
            Self::Loopback => f.write_str("direct, as it is the machine itself"),
            Self::Unread => f.write_str("direct, as the variables are not read"),
        }
    }
}

/// What each dialect makes of a host.
#[must_use]
pub fn explain<'a>(target: &Target, no_proxy: &'a str) -> Vec<(Dialect, Verdict<'a>)> {
    Dialect::ALL.into_iter().map(|dialect| (dialect, dialect.way(target, no_proxy))).collect()
}

/// A host that somebody wants to reach: `host`, `host:port`, `::1`, `[::1]:port`. Names are not looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was written, without brackets.
    host: String,
    address: Option<IpAddr>,
    port: Option<u16>,
}

/// Why a text names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a host; give a name or an address, and a port after a colon if it matters (an address of IPv6 then goes in brackets)"
)]
pub struct NotAHost;

impl FromStr for Target {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let is_address = text.parse::<IpAddr>().is_ok();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !is_address && !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = literal.unwrap_or(host);
        let address: Option<IpAddr> = host.parse().ok();
        let is_ipv6 = matches!(address, Some(IpAddr::V6(_)));
        let fits = if is_ipv6 { is_address || literal.is_some() } else { literal.is_none() && is_host(host) };
        if !fits {
            return Err(NotAHost);
        }
        let number = |port: &str| port.parse().ok().filter(|number| *number != 0 && !port.starts_with('+'));
        let port = port.map(|port| number(port).ok_or(NotAHost)).transpose()?;
        Ok(Self { host: host.to_owned(), address, port })
    }
}

impl Target {
    /// The port that is meant where none is written: that of HTTPS.
    fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(443)
    }
}

/// Whether a name is this one or one below it. Case makes no difference.
fn is_or_is_below(name: &str, this: &str) -> bool {
    name.eq_ignore_ascii_case(this) || ends_with(name, this).is_some_and(|before| before.ends_with('.'))
}

/// What stands before the end, if it ends so. Case makes no difference.
fn ends_with<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let (before, last) = name.split_at_checked(name.len().checked_sub(end.len())?)?;
    last.eq_ignore_ascii_case(end).then_some(before)
}
