//! The API server's name.

use std::{fmt, net::IpAddr, str::FromStr};

/// A fully qualified domain name: at least two labels, lower case, with or without the dot at the end, which is
/// kept as given. Source: RFC 1035 section 2.3.1, RFC 1123 section 2.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fqdn(String);

impl Fqdn {
    /// The name as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name for an API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFqdn {
    /// Nothing there.
    #[error("empty; give the API server's name, such as api.example.com.")]
    Empty,
    /// An address.
    #[error("an IP address; the proxy that Pods are sent to finds the API server by name, so give a name")]
    Address,
    /// One label only.
    #[error("not fully qualified; give at least two labels, such as api.example.com.")]
    OneLabel,
    /// Too long in all.
    #[error("longer than the 253 characters that DNS allows")]
    TooLong,
    /// Upper case.
    #[error("not in lower case; write it so")]
    UpperCase,
    /// A label that DNS does not have.
    #[error("not a DNS name; each label is 1 to 63 of a to z, 0 to 9 and -, and has no - at its ends")]
    Label,
}

impl FromStr for Fqdn {
    type Err = BadFqdn;

    fn from_str(text: &str) -> Result<Self, BadFqdn> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(BadFqdn::Empty);
        }
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(BadFqdn::Address);
        }
        if name.len() > 253 {
            return Err(BadFqdn::TooLong);
        }
        if name.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(BadFqdn::UpperCase);
        }
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(fits)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !name.split('.').all(is_label) {
            return Err(BadFqdn::Label);
        }
        if !name.contains('.') {
            return Err(BadFqdn::OneLabel);
        }
        // No top-level domain is a number; 10.0.0.256 is a typing error.
        if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit())) {
            return Err(BadFqdn::Address);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_given() {
        let long = format!("{}.example.com", "a".repeat(63));
        for name in [
            "foo.bar.",
            "foo.bar",
            "api.my-cluster.example.com.",
            "a1.b2.c3d",
            "xn--bcher-kva.example",
            &long,
        ] {
            assert_eq!(name.parse::<Fqdn>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let (long, many) = (format!("{}.example.com", "a".repeat(64)), format!("{}com", "a.".repeat(130)));
        for (text, reason) in [
            ("", BadFqdn::Empty),
            (".", BadFqdn::Empty),
            ("localhost", BadFqdn::OneLabel),
            ("com.", BadFqdn::OneLabel),
            ("10.0.0.1", BadFqdn::Address),
            ("10.0.0.256", BadFqdn::Address),
            ("fd00::1", BadFqdn::Address),
            ("[fd00::1]", BadFqdn::Address),
            ("Foo.bar", BadFqdn::UpperCase),
            ("foo..bar", BadFqdn::Label),
            ("foo.bar..", BadFqdn::Label),
            ("-foo.bar", BadFqdn::Label),
            ("foo-.bar", BadFqdn::Label),
            ("foo_x.bar", BadFqdn::Label),
            ("foo.bar:443", BadFqdn::Label),
            ("https://foo.bar", BadFqdn::Label),
            ("foo.bar ", BadFqdn::Label),
            ("bücher.example", BadFqdn::Label),
            (&long, BadFqdn::Label),
            (&many, BadFqdn::TooLong),
        ] {
            assert_eq!(text.parse::<Fqdn>(), Err(reason), "{text:?}");
        }
    }
}
