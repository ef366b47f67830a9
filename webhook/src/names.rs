//! Names of objects, as Kubernetes allows them.

use std::{fmt, str::FromStr};

/// Why a text can't be what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadValue(pub(crate) String);

pub(crate) fn bad<T>(why: impl Into<String>) -> Result<T, BadValue> {
    Err(BadValue(why.into()))
}

fn is_label(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

/// A name of one label, as namespaces and Services have it. Source: RFC 1123 section 2.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) String);

impl FromStr for Label {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if !is_label(text) {
            return bad("not a DNS label: 1 to 63 of a to z, 0 to 9 and -, with no - at its ends");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A name of labels with dots between, as most objects have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subdomain(pub(crate) String);

impl FromStr for Subdomain {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.len() > 253 || !text.split('.').all(is_label) {
            return bad("not a DNS name: labels of a to z, 0 to 9 and -, with dots between");
        }
        Ok(Self(text.to_owned()))
    }
}

/// An object in a namespace: `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespaced {
    /// A label.
    pub(crate) namespace: String,
    /// A subdomain.
    pub(crate) name: String,
}

impl FromStr for Namespaced {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parts = text.split_once('/');
        match parts.map(|(namespace, name)| (namespace.parse(), name.parse())) {
            Some((Ok(Label(namespace)), Ok(Subdomain(name)))) => Ok(Self { namespace, name }),
            _ => bad("not a namespace and a name, such as apiserver-proxy/webhook"),
        }
    }
}

impl fmt::Display for Namespaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names() {
        for text in ["a", "a-b", "0", "apiserver-proxy"] {
            assert!(text.parse::<Label>().is_ok() && text.parse::<Subdomain>().is_ok(), "{text}");
        }
        for text in ["", "-a", "a-", "A", "a_b", "a b", "a\nb", "a: b", "ü", &"a".repeat(64)] {
            assert!(text.parse::<Label>().is_err() && text.parse::<Subdomain>().is_err(), "{text}");
        }
        assert!("a.b".parse::<Label>().is_err() && "a.b".parse::<Subdomain>().is_ok());
        for text in ["a..b", ".a", "a.", &"a.".repeat(127)] {
            assert!(text.parse::<Subdomain>().is_err(), "{text}");
        }
        assert!("ns/a.b".parse::<Namespaced>().is_ok());
        for text in ["", "ns", "ns/", "/a", "ns/a/b", "n.s/a"] {
            assert!(text.parse::<Namespaced>().is_err(), "{text}");
        }
    }
}
