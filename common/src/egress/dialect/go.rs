//! Go's `net/http`.
//!
//! Source: `config.init` and `config.useProxy` in `http/httpproxy/proxy.go` of `golang.org/x/net`. The machine itself
//! is always direct. Names are compared to the letter, trailing dot and all; a leading dot (or `*.`) means only what
//! is below. `*` anywhere in the list means all. A member may have a port. Names beyond ASCII are left out here.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{super::names, Target, Verdict, ends_with, is_or_is_below};

pub(super) fn way<'a>(target: &Target, list: &'a str) -> Verdict<'a> {
    // `localhost` in lower case only: the comparison comes before the change to lower case.
    if target.host == "localhost"
        || target.address.is_some_and(|address| address.to_canonical().is_loopback())
    {
        return Verdict::Loopback;
    }
    let members = || list.split(',').map(str::trim).filter(|member| !member.is_empty());
    // Members that are names are held against addresses as well: `0.1` means all that end so.
    let member = members()
        .find(|member| *member == "*")
        .or_else(|| members().find(|member| holds(target, member)))
        .or_else(|| members().find(|member| means(target, member)));
    member.map_or(Verdict::Proxy, Verdict::Member)
}

/// Whether an address is a member's or in a member's network.
fn holds(target: &Target, member: &str) -> bool {
    let Some(address) = target.address.map(|address| address.to_canonical()) else { return false };
    if let Some(network) = names::cidr(member) {
        return canonical(network).contains(&address);
    }
    let Some((host, port)) = host_and_port(target, member) else { return false };
    port && host.parse().is_ok_and(|member: IpAddr| member.to_canonical() == address)
}

/// A network of IPv4 within IPv6 is one of IPv4, as its addresses are.
fn canonical(network: IpNet) -> IpNet {
    let within = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    within.and_then(|(address, bits)| IpNet::new(address.into(), bits).ok()).unwrap_or(network)
}

/// Whether a name is a member's or below it.
fn means(target: &Target, member: &str) -> bool {
    if names::cidr(member).is_some() {
        return false;
    }
    let Some((host, port)) = host_and_port(target, member) else { return false };
    if host.parse::<IpAddr>().is_ok() {
        return false;
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let below_only = host.starts_with('.');
    port && if below_only {
        ends_with(&target.host, host).is_some()
    } else {
        is_or_is_below(&target.host, host)
    }
}

/// The member's host, and whether its port, if it has one, is the target's. Follows `net.SplitHostPort`.
fn host_and_port<'a>(target: &Target, member: &'a str) -> Option<(&'a str, bool)> {
    let split = match member.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => member.split_once(':'),
    };
    match split {
        Some((host, port)) if !port.contains([':', '[', ']']) => {
            let same = port.is_empty() || port == target.port_or_default().to_string();
            (!host.is_empty()).then_some((host, same))
        }
        _ => Some((member, true)),
    }
}
