//! Ruby's `Net::HTTP` and `OpenURI`.
//!
//! Source: `find_proxy` and `use_proxy?` of `URI::Generic` in `lib/uri/generic.rb`. The machine itself is always
//! direct. Members are cut at colons, so no IPv6 address can be one: of `::1` it makes the member `1`, below which is
//! every address that ends in `.1`. A leading dot means only what is below. A member may have a port.
//!
//! Ruby looks a name up and holds its address, too, against CIDRs; here nothing is looked up.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Target, Verdict, ends_with, is_or_is_below};

pub(super) fn way<'a>(target: &Target, list: &'a str) -> Verdict<'a> {
    if target.host.eq_ignore_ascii_case("localhost")
        || target.address.is_some_and(|address| address.is_loopback())
    {
        return Verdict::Loopback;
    }
    let mut rest = list;
    while let Some((member, port, after)) = next(rest) {
        let meant = port.is_none_or(|port| port.parse() == Ok(target.port_or_default()));
        if meant && (by_name(target, member) || by_address(target, member)) {
            return Verdict::Member(whole(list, list.len() - rest.trim_start_matches(BETWEEN).len()));
        }
        rest = after;
    }
    Verdict::Proxy
}

/// What members are cut at: those of `\s`, too.
const BETWEEN: [char; 8] = [':', ',', ' ', '\t', '\n', '\x0b', '\x0c', '\r'];

/// The member, as it stands in the list, of which a part begins there.
fn whole(list: &str, at: usize) -> &str {
    let cut = |c: char| c != ':' && BETWEEN.contains(&c);
    let (before, after) = list.split_at_checked(at).unwrap_or((list, ""));
    let begin = before.rfind(cut).map_or(0, |at| at + 1);
    let end = at + after.find(cut).unwrap_or(after.len());
    list.get(begin..end).unwrap_or(list)
}

/// The next match of `([^:,\s]+)(?::(\d+))?`, and what follows it.
fn next(list: &str) -> Option<(&str, Option<&str>, &str)> {
    let list = list.trim_start_matches(BETWEEN);
    let (member, after) = list.split_at_checked(list.find(BETWEEN).unwrap_or(list.len()))?;
    if member.is_empty() {
        return None;
    }
    let digits = after.strip_prefix(':').unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    match digits.split_at_checked(end)? {
        ("", _) => Some((member, None, after)),
        (port, after) => Some((member, Some(port), after)),
    }
}

fn by_name(target: &Target, member: &str) -> bool {
    if member.starts_with('.') {
        ends_with(&target.host, member).is_some()
    } else {
        is_or_is_below(&target.host, member)
    }
}

fn by_address(target: &Target, member: &str) -> bool {
    let Some(address) = target.address else { return false };
    member.parse::<IpNet>().is_ok_and(|network| network.contains(&address))
        || member.parse() == Ok::<IpAddr, _>(address)
}
