//! Python: `urllib` of the standard library, and `requests`, which asks `urllib` after itself.
//!
//! Source: `proxy_bypass_environment` in `Lib/urllib/request.py` of CPython; `should_bypass_proxies`,
//! `is_valid_cidr` and `address_in_network` in `src/requests/utils.py`. Before requests 2.34.0 a member was the end of a
//! name even in the middle of a label: `svc` meant `xsvc` as well.
//! `urllib` has no CIDRs, and compares addresses like names, IPv6 with its brackets; `requests` adds CIDRs of IPv4, and
//! takes the brackets off. A member may have a port if the URL has it. Leading dots mean
//! nothing; trailing ones are compared to the letter. `*` counts only where it is all there is.

use std::net::IpAddr;

use ipnet::Ipv4Net;

use super::{Target, Verdict, is_or_is_below};

pub(super) fn urllib<'a>(target: &Target, list: &'a str) -> Verdict<'a> {
    let host = match target.address {
        Some(IpAddr::V6(_)) => format!("[{}]", target.host),
        _ => target.host.clone(),
    };
    let with_port = target.port.map(|port| format!("{host}:{port}"));
    bypass(&[Some(&host), with_port.as_ref()], list)
}

fn bypass<'a>(hosts: &[Option<&String>], list: &'a str) -> Verdict<'a> {
    if list == "*" {
        return Verdict::Member(list);
    }
    find(list, |member| {
        hosts.iter().flatten().any(|host| is_or_is_below(host, member.trim_start_matches('.')))
    })
}

/// Whether a host is meant by a member, to the letter: before 2.34.0.
pub(super) fn ends(host: &str, member: &str) -> bool {
    host.ends_with(member)
}

/// The same from 2.34.0 on.
pub(super) fn is_or_ends(host: &str, member: &str) -> bool {
    let before = host.strip_suffix(member.trim_start_matches('.'));
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

pub(super) fn requests<'a>(target: &Target, list: &'a str, is_meant: fn(&str, &str) -> bool) -> Verdict<'a> {
    let own = match target.address {
        Some(IpAddr::V4(address)) => find(list, |member| {
            member
                .parse::<Ipv4Net>()
                .is_ok_and(|network| network.prefix_len() > 0 && network.contains(&address))
                || member == target.host
        }),
        _ => {
            // It lets the letters of a member be, while those of the host are lower case by now; urllib, which
            // follows, makes up for that, but not for a port.
            let host = target.host.to_ascii_lowercase();
            let with_port = target.port.map(|port| format!("{host}:{port}"));
            find(list, |member| {
                is_meant(&host, member) || with_port.as_deref().is_some_and(|host| is_meant(host, member))
            })
        }
    };
    if own == Verdict::Proxy { bypass(&[Some(&target.host)], list) } else { own }
}

fn find<'a>(list: &'a str, is_meant: impl Fn(&str) -> bool) -> Verdict<'a> {
    let mut members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    members.find(|member| is_meant(member)).map_or(Verdict::Proxy, Verdict::Member)
}
