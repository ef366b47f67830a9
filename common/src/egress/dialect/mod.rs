//! How programs read `NO_PROXY`.
//!
//! There is no standard. Each file in here follows one family of programs, from its source; where the programs were
//! at hand, `testdata/egress/dialects.tsv` has what they did, and the tests hold the files against it.

mod curl;
mod go;
mod python;
mod ruby;
mod target;
#[cfg(test)]
mod tests;
mod wget;

use std::fmt;

pub use self::target::{NotAHost, Scheme, Target};
use super::{
    config::{Config, Proxy},
    url::ProxyUrl,
};

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
    /// Python's `requests` before 2.34.0: a member is the end of a name, wherever that begins.
    RequestsOld,
    /// From 2.34.0 on: a member is a name, or what is below it.
    Requests,
    /// Python's own `urllib`.
    Urllib,
    /// Ruby's `Net::HTTP`, which has one proxy for both schemes.
    NetHttp,
    /// Ruby's `open-uri`, which reads the same list.
    OpenUri,
    /// Java's own clients, which read no such variable at all: neither proxy nor `NO_PROXY`.
    Java,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::CurlOld,
        Self::Curl,
        Self::CurlNew,
        Self::Wget,
        Self::Go,
        Self::RequestsOld,
        Self::Requests,
        Self::Urllib,
        Self::NetHttp,
        Self::OpenUri,
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
            Self::RequestsOld => python::requests(target, no_proxy, python::ends),
            Self::Requests => python::requests(target, no_proxy, python::is_or_ends),
            Self::Urllib => python::urllib(target, no_proxy),
            Self::NetHttp | Self::OpenUri => ruby::way(target, no_proxy),
            Self::Java => Verdict::Unread,
        }
    }

    /// Which proxy it takes for a host that is not to be reached past it.
    #[must_use]
    pub fn proxy<'a>(self, target: &Target, proxy: &'a Proxy) -> Option<&'a ProxyUrl> {
        match (self, target.scheme()) {
            (Self::Java, _) => None,
            // `proxy_uri` in `lib/net/http.rb` asks for that of http, whatever it is about to speak.
            (Self::NetHttp, _) | (_, Scheme::Http) => proxy.http.as_ref(),
            (_, Scheme::Https) => proxy.https.as_ref(),
        }
    }

    /// Which way a host is reached with this configuration, and with the `NO_PROXY` that was made of it.
    #[must_use]
    pub fn route<'a>(self, target: &Target, config: &Config, no_proxy: &'a str) -> Verdict<'a> {
        match self.proxy(target, &config.proxy) {
            None if self != Self::Java => Verdict::NoProxy,
            _ => self.way(target, no_proxy),
        }
    }

    /// A word for programs; stays what it is.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::CurlOld => "curl-7.85",
            Self::Curl => "curl-7.86",
            Self::CurlNew => "curl-8.18",
            Self::Wget => "wget",
            Self::Go => "go",
            Self::RequestsOld => "requests-2.33",
            Self::Requests => "requests-2.34",
            Self::Urllib => "urllib",
            Self::NetHttp => "net-http",
            Self::OpenUri => "open-uri",
            Self::Java => "java",
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
            Self::RequestsOld => "requests before 2.34",
            Self::Requests => "requests from 2.34",
            Self::Urllib => "Python urllib",
            Self::NetHttp => "Ruby Net::HTTP",
            Self::OpenUri => "Ruby open-uri",
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
    /// Past the proxy: there is none for what the program speaks.
    NoProxy,
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
            Self::NoProxy => f.write_str("direct, as no proxy is set for it"),
        }
    }
}

/// What each dialect makes of a host, if a proxy is set for it.
#[cfg(test)]
pub(super) fn explain<'a>(target: &Target, no_proxy: &'a str) -> Vec<(Dialect, Verdict<'a>)> {
    Dialect::ALL.into_iter().map(|dialect| (dialect, dialect.way(target, no_proxy))).collect()
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
