//! The address of a proxy, perhaps with a name and a password.

use std::{fmt, net::Ipv6Addr};

use super::{names::is_host, secret::Secret};

/// What clients take as a proxy: `http://me:password@192.0.2.1:3128`.
///
/// Kept to the letter for those who need it ([`ProxyUrl::reveal`]); printed with `***` for name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    whole: Secret,
    scheme: &'static str,
    has_userinfo: bool,
    host_and_port: String,
}

/// Why a text is no such address. Never says what it was: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAProxyUrl {
    /// No scheme, or another one.
    #[error("not a proxy's URL; it must begin with http://, https:// or socks5://")]
    Scheme,
    /// Something that every client reads differently, or refuses.
    #[error(
        "the name or password has a character in it that must be written as %XX (/ is %2F, @ is %40, % is %25)"
    )]
    Userinfo,
    /// No host, or not the form of one.
    #[error("not a proxy's URL; after the scheme and user:password@ it needs a host name or an address")]
    Host,
    /// Not a port.
    #[error("not a proxy's URL; the port must be a number from 1 to 65535")]
    Port,
    /// More than a proxy's address.
    #[error("not a proxy's URL; there must be nothing after host and port")]
    Path,
}

impl ProxyUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// Says what is wrong with it, without a word of it.
    pub fn parse(text: &str) -> Result<Self, NotAProxyUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAProxyUrl::Scheme)?;
        let scheme = ["http", "https", "socks5"]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known))
            .ok_or(NotAProxyUrl::Scheme)?;
        let (userinfo, address) = match rest.rsplit_once('@') {
            Some((userinfo, address)) => (Some(userinfo), address),
            None => (None, rest),
        };
        if userinfo.is_some_and(|userinfo| !is_userinfo(userinfo)) {
            return Err(NotAProxyUrl::Userinfo);
        }
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#']) {
            return Err(NotAProxyUrl::Path);
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (address, None),
        };
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if !literal.map_or_else(|| is_host(host), |host| host.parse::<Ipv6Addr>().is_ok()) {
            return Err(NotAProxyUrl::Host);
        }
        let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        if port.is_some_and(|port| !digits(port) || port.parse().unwrap_or(0_u16) == 0) {
            return Err(NotAProxyUrl::Port);
        }
        Ok(Self {
            whole: Secret::new(text),
            scheme,
            has_userinfo: userinfo.is_some(),
            host_and_port: address.to_owned(),
        })
    }

    /// The address as it was written, password and all.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.whole.reveal()
    }

    /// Whether there is a name or a password in it.
    #[must_use]
    pub fn has_userinfo(&self) -> bool {
        self.has_userinfo
    }
}

/// What Go's `net/url` takes (`validUserinfo` in `src/net/url/url.go`): kubelet and containerd are Go programs.
fn is_userinfo(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => {
                [bytes.next(), bytes.next()].iter().flatten().filter(|x| x.is_ascii_hexdigit()).count() == 2
            }
            _ => byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=".contains(&byte),
        };
        if !fine {
            return false;
        }
    }
    true
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = if self.has_userinfo { "***@" } else { "" };
        write!(f, "{}://{hidden}{}", self.scheme, self.host_and_port)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn proxies_are_kept_to_the_letter_and_shown_without_password() {
        for (text, printed) in [
            ("http://me:pw@192.168.52.220:3128", "http://***@192.168.52.220:3128"),
            ("HTTP://me:p%40w%2f$'!@proxy.corp/", "http://***@proxy.corp"),
            ("https://proxy.corp:8443", "https://proxy.corp:8443"),
            ("socks5://me@[2001:db8::1]:1080", "socks5://***@[2001:db8::1]:1080"),
            ("http://[::1]", "http://[::1]"),
            ("http://@proxy", "http://***@proxy"),
        ] {
            let url = ProxyUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (url.reveal(), url.to_string(), format!("{url:?}")),
                (text, printed.into(), printed.into())
            );
            assert_eq!(url.has_userinfo(), text.contains('@'));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        use NotAProxyUrl::{Host, Path, Port, Scheme, Userinfo};
        for (text, error) in [
            ("", Scheme),
            ("proxy:3128", Scheme),
            ("ftp://proxy", Scheme),
            ("http://me:p@w@proxy", Userinfo),
            ("http://me:p/w@proxy", Userinfo),
            ("http://me:p%w@proxy", Userinfo),
            ("http://me:p%4@proxy", Userinfo),
            ("http://me:p w@proxy", Userinfo),
            ("http://me:p\"w@proxy", Userinfo),
            ("http://me:p\nw@proxy", Userinfo),
            ("http://", Host),
            ("http://me:pw@", Host),
            ("http://me:pw@:3128", Host),
            ("http://pro xy", Host),
            ("http://10.0.0.300", Host),
            ("http://2001:db8::1:3128", Host),
            ("http://proxy:", Port),
            ("http://proxy:0", Port),
            ("http://proxy:+80", Port),
            ("http://proxy:65536", Port),
            ("http://proxy/path", Path),
            ("http://proxy?query", Path),
        ] {
            assert_eq!(ProxyUrl::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_password_is_ever_printed(text in "(http://)?[a-z]{0,3}(:SECRET)?[ -~]{0,4}@[ -~]{0,12}") {
            if let Ok(url) = ProxyUrl::parse(&text) {
                let printed = format!("{url} {url:?}");
                prop_assert!(!printed.contains("SECRET"), "{}", printed);
                prop_assert_eq!(url.reveal(), text);
            }
        }
    }
}
