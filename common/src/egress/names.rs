//! The forms of names and addresses in the configuration.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// A DNS name, without a trailing dot: labels of letters, digits, `-` and `_`. What ends in a number is none: it
/// would be taken for an IPv4 address.
pub(super) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name or an IPv4 address: what stands in a URL without brackets.
pub(super) fn is_host(text: &str) -> bool {
    matches!(text.parse(), Ok(IpAddr::V4(_))) || is_name(text.strip_suffix('.').unwrap_or(text))
}

/// An address and how many bits of it count. Zeros in front are refused: Python takes 010.0.0.0 for 8.0.0.0, curl, Go and
/// Ruby take it for no address.
pub(super) fn cidr(text: &str) -> Option<IpNet> {
    let (address, bits) = text.split_once('/')?;
    let plain = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    IpNet::new(address.parse().ok()?, bits.parse().ok().filter(|_| plain)?).ok()
}

/// One of the user's own members of `NO_PROXY`: an address, a CIDR, a name, with `.` or `*.` before it if only what
/// is below it is meant; with a port or not.
pub(super) fn is_member(text: &str) -> bool {
    if text.contains('/') {
        return cidr(text).is_some();
    }
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.starts_with('+') || port.parse().unwrap_or(0_u16) == 0) {
        return false;
    }
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => is_host(host.strip_prefix("*.").or_else(|| host.strip_prefix('.')).unwrap_or(host)),
    }
}

/// The name of a service's unit without `.service`, given with or without it; nothing if the text is none. It becomes
/// a part of a path.
#[must_use]
pub fn unit_name(text: &str) -> Option<&str> {
    let name = text.strip_suffix(".service").unwrap_or(text);
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.@".contains(&byte);
    ((1..=200).contains(&name.len()) && name.bytes().all(fine) && !name.starts_with('.')).then_some(name)
}

/// The name of an object in Kubernetes: a DNS name in lower case.
pub(super) fn is_object(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253 && text.bytes().all(fine) && text.starts_with(ends) && text.ends_with(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_addresses_cidrs_and_names() {
        for fine in [
            "172.16.0.0/16",
            "fd00::/8",
            "10.0.0.1",
            "10.0.0.1:8080",
            "::1",
            "[::1]",
            "[fd00::1]:443",
            "svc",
            ".svc",
            "*.example.com",
            "Example.com.",
            "a_b.example.com:80",
        ] {
            assert!(is_member(fine), "{fine}");
        }
        for wrong in [
            "",
            "*",
            ".",
            "10.0.0.0/33",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0.0/8/8",
            "10.0.0.256",
            "example.com/x",
            "a b",
            "a..b",
            "-a",
            "a:0",
            "a:+1",
            "a:b",
            "[::1",
            "me@host",
            "http://host",
            "*a",
        ] {
            assert!(!is_member(wrong), "{wrong}");
        }
    }

    #[test]
    fn units_stay_in_their_folder() {
        for (text, name) in
            [("containerd", "containerd"), ("kubelet.service", "kubelet"), ("a@b.c-d_e:f", "a@b.c-d_e:f")]
        {
            assert_eq!(unit_name(text), Some(name));
        }
        for text in ["", "..", "a/b", "a b", "a%b", "a\nb", ".service"] {
            assert_eq!(unit_name(text), None, "{text}");
        }
        assert!(["a", "a-b.c1"].into_iter().all(is_object));
        assert!(!["", "-a", "a.", "A", "a/b"].into_iter().any(is_object));
    }
}
