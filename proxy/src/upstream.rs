//! `--upstream`: where API servers may be reached, as an address or a name.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// `HOST:PORT`; every address of a name is an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// An address or a name.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

/// An address or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// IPv4 or IPv6.
    Address(IpAddr),
    /// A name for DNS, in small letters; a dot at its end keeps it from being searched for.
    Name(String),
}

/// Why a text is no upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoUpstream {
    /// Without a port.
    #[error("not HOST:PORT; write kube-apiserver.example.com:443, 10.0.0.1:6443 or [fd00::1]:6443")]
    Form,
    /// Colons that may be the address's or the port's.
    #[error("an IPv6 address goes in brackets: [fd00::1]:6443")]
    Brackets,
    /// Not 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Neither an address nor a name.
    #[error(
        "the host is neither an address nor a DNS name of letters, digits and hyphens, such as \
         kube-apiserver.example.com"
    )]
    Host,
}

impl FromStr for Upstream {
    type Err = NoUpstream;

    fn from_str(text: &str) -> Result<Self, NoUpstream> {
        let (host, port) = text.rsplit_once(':').ok_or(NoUpstream::Form)?;
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(None) => return Err(NoUpstream::Form),
            Some(Some(inner)) => {
                let address: Ipv6Addr = inner.parse().map_err(|_| NoUpstream::Host)?;
                // IPv4 in the clothes of IPv6 is IPv4.
                Host::Address(IpAddr::V6(address).to_canonical())
            }
            None if host.contains('/') => return Err(NoUpstream::Form),
            None if host.contains(':') => return Err(NoUpstream::Brackets),
            None if host.is_empty() => return Err(NoUpstream::Form),
            None => match host.parse() {
                Ok(address) => Host::Address(IpAddr::V4(address)),
                Err(_) if is_name(host) => Host::Name(host.to_ascii_lowercase()),
                Err(_) => return Err(NoUpstream::Host),
            },
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port @ 1..) if digits => Ok(Self { host, port }),
            _ => Err(NoUpstream::Port),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Address(address) => write!(f, "{}", std::net::SocketAddr::new(*address, port)),
            Host::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

/// Whether a text can be asked DNS for. Source: RFC 1123 section 2.1; underscores occur all the same.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A last label of digits only is meant as an address, and is a wrong one.
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        for (text, shown) in [
            ("10.0.0.1:6443", "10.0.0.1:6443"),
            ("[fd00::1]:443", "[fd00::1]:443"),
            ("[fd00:0:0::0001]:00443", "[fd00::1]:443"),
            ("[::ffff:10.0.0.1]:443", "10.0.0.1:443"),
            ("Kube-APIserver.example.com:443", "kube-apiserver.example.com:443"),
            ("kube_apiserver:1", "kube_apiserver:1"),
            ("a.b.:65535", "a.b.:65535"),
            ("1.example:443", "1.example:443"),
        ] {
            let upstream: Upstream = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(upstream.to_string().parse(), Ok(upstream));
        }
    }

    #[test]
    fn what_is_neither_says_what_would_be() {
        let long = format!("{}a:443", "a".repeat(63));
        for (text, why) in [
            ("", NoUpstream::Form),
            ("kube-apiserver", NoUpstream::Form),
            (":443", NoUpstream::Form),
            ("fd00::1:443", NoUpstream::Brackets),
            ("https://a:443", NoUpstream::Form),
            ("[fd00::1]", NoUpstream::Form),
            ("[fd00::1%eth0]:443", NoUpstream::Host),
            ("[10.0.0.1]:443", NoUpstream::Host),
            ("[a]:443", NoUpstream::Host),
            ("10.0.0.256:443", NoUpstream::Host),
            ("10.0.0:443", NoUpstream::Host),
            ("a..b:443", NoUpstream::Host),
            (".:443", NoUpstream::Host),
            ("-a:443", NoUpstream::Host),
            ("a b:443", NoUpstream::Host),
            ("ä:443", NoUpstream::Host),
            (&long, NoUpstream::Host),
            ("a:0", NoUpstream::Port),
            ("a:", NoUpstream::Port),
            ("a:+1", NoUpstream::Port),
            ("a:65536", NoUpstream::Port),
            ("a:https", NoUpstream::Port),
        ] {
            assert_eq!(text.parse::<Upstream>(), Err(why), "{text:?}");
        }
    }
}
