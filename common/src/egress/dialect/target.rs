//! What somebody wants to reach.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::egress::names::is_host;

/// What is spoken; there is a proxy for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`
    Http,
    /// `https://`
    #[default]
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A host that somebody wants to reach: `host`, `host:port`, `::1`, `[::1]:port`, or a URL of http or https, of which
/// neither path nor userinfo is kept. Without a scheme https is meant. Names are not looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    /// As it was written, without brackets.
    pub(super) host: String,
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

/// Why a text names no host. Never says what it was: a URL may have a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a host; give a name or an address, and a port after a colon if it matters (an address of IPv6 then goes in brackets), or a URL of http or https"
)]
pub struct NotAHost;

impl FromStr for Target {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let (scheme, text) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let known = [Scheme::Http, Scheme::Https];
                let scheme = known.into_iter().find(|known| scheme.eq_ignore_ascii_case(&known.to_string()));
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                (scheme.ok_or(NotAHost)?, host)
            }
            None => (Scheme::default(), text),
        };
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
        Ok(Self { scheme, host: host.to_owned(), address, port })
    }
}

impl Target {
    /// What is spoken with it.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Without brackets and port, as it was written.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// If one was written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port that is meant where none is written: that of the scheme.
    pub(super) fn port_or_default(&self) -> u16 {
        self.port.unwrap_or_else(|| self.scheme.default_port())
    }
}

/// A URL without a path.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.scheme, &self.host);
        match self.address {
            Some(IpAddr::V6(_)) => write!(f, "{scheme}://[{host}]")?,
            _ => write!(f, "{scheme}://{host}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
