//! Which of all addresses that were found become endpoints. Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// As many endpoints as there may be.
pub const MOST: usize = 256;

/// What is used, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// The endpoints.
    pub endpoints: BTreeSet<SocketAddr>,
    /// Left out: we listen there ourselves.
    pub own: BTreeSet<SocketAddr>,
    /// Left out: nobody can be reached there.
    pub useless: BTreeSet<SocketAddr>,
    /// Left out: they were too many.
    pub cut: usize,
}

/// Sorts addresses out. `own` is where we listen, `is_local` says whether an address is one of this machine.
#[must_use]
pub fn merge(
    found: impl IntoIterator<Item = SocketAddr>,
    own: &[SocketAddr],
    is_local: impl Fn(IpAddr) -> bool,
) -> Merged {
    let mut merged = Merged::default();
    for address in found {
        let address = canonical(address);
        if !is_usable(address) {
            merged.useless.insert(address);
        } else if is_own(address, own, &is_local) {
            merged.own.insert(address);
        } else {
            merged.endpoints.insert(address);
        }
    }
    merged.cut = merged.endpoints.len().saturating_sub(MOST);
    if let Some(first) = merged.endpoints.iter().nth(MOST).copied() {
        let _ = merged.endpoints.split_off(&first);
    }
    merged
}

/// IPv4 in the clothes of IPv6 is IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `0.0.0.0`, which blocking DNS servers answer with, leads to this machine, and with some luck to ourselves.
fn is_usable(address: SocketAddr) -> bool {
    let ip = address.ip();
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::from([255; 4]) && address.port() != 0
}

/// Whether a connection to an address would come back to ourselves.
#[must_use]
pub fn is_own(address: SocketAddr, own: &[SocketAddr], is_local: impl Fn(IpAddr) -> bool) -> bool {
    let address = canonical(address);
    own.iter().map(|own| canonical(*own)).any(|own| {
        let same_family = own.is_ipv6() || address.is_ipv4();
        own.port() == address.port()
            && (own.ip() == address.ip()
                // `[::]` is for IPv4 as well.
                || (own.ip().is_unspecified() && same_family && is_local(address.ip())))
    })
}

/// What of two sets is in one of them only: added, removed.
#[must_use]
pub fn difference(
    before: &BTreeSet<SocketAddr>,
    after: &BTreeSet<SocketAddr>,
) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    (after.difference(before).copied().collect(), before.difference(after).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn merged(found: &[&str], own: &[&str]) -> (Vec<String>, Vec<String>) {
        let is_local = |ip: IpAddr| ip.to_string().starts_with("192.168.") || ip.is_loopback();
        let merged = merge(sockets(found), &sockets(own), is_local);
        let texts = |set: &BTreeSet<SocketAddr>| set.iter().map(ToString::to_string).collect();
        (texts(&merged.endpoints), texts(&merged.own))
    }

    #[test]
    fn our_own_addresses_are_left_out() {
        for (found, own, endpoints, left_out) in [
            (vec!["10.0.0.1:443", "10.0.0.1:443"], vec![], vec!["10.0.0.1:443"], vec![]),
            (vec!["10.0.0.1:443"], vec!["10.0.0.1:443"], vec![], vec!["10.0.0.1:443"]),
            (vec!["10.0.0.1:6443"], vec!["10.0.0.1:443"], vec!["10.0.0.1:6443"], vec![]),
            (
                vec!["10.0.0.1:443", "192.168.0.1:443"],
                vec!["0.0.0.0:443"],
                vec!["10.0.0.1:443"],
                vec!["192.168.0.1:443"],
            ),
            (
                vec!["192.168.0.1:443", "[::1]:443"],
                vec!["[::]:443"],
                vec![],
                vec!["192.168.0.1:443", "[::1]:443"],
            ),
            (vec!["[::1]:443"], vec!["0.0.0.0:443"], vec!["[::1]:443"], vec![]),
            (vec!["192.168.0.1:6443"], vec!["[::]:443"], vec!["192.168.0.1:6443"], vec![]),
            (vec!["[::ffff:10.0.0.1]:443"], vec!["10.0.0.1:443"], vec![], vec!["10.0.0.1:443"]),
        ] {
            let (is_used, is_own) = merged(&found, &own);
            assert_eq!(
                (is_used, is_own),
                (
                    endpoints.iter().map(ToString::to_string).collect(),
                    left_out.iter().map(ToString::to_string).collect()
                ),
                "{found:?} {own:?}"
            );
        }
    }

    #[test]
    fn what_leads_nowhere_is_left_out() {
        let found =
            sockets(&["0.0.0.0:443", "[::]:443", "224.0.0.1:443", "255.255.255.255:443", "10.0.0.1:0"]);
        let merged = merge(found, &[], |_| false);
        assert_eq!((merged.endpoints.len(), merged.useless.len()), (0, 5));
    }

    #[test]
    fn more_than_there_may_be_are_cut() {
        let found = (0..300_u16).rev().map(|number| SocketAddr::from(([10, 0, 0, 1], 1000 + number)));
        let merged = merge(found, &[], |_| false);
        assert_eq!((merged.endpoints.len(), merged.cut), (MOST, 44));
        assert_eq!(merged.endpoints.last().map(SocketAddr::port), Some(1255));
        let fifty = (0..50_u16).map(|number| SocketAddr::from(([10, 0, 0, 1], 1000 + number)));
        assert_eq!(merge(fifty, &[], |_| false).endpoints.len(), 50);
    }

    #[test]
    fn what_has_come_and_gone() {
        let set = |texts: &[&str]| sockets(texts).into_iter().collect::<BTreeSet<_>>();
        let (added, removed) =
            difference(&set(&["10.0.0.1:1", "10.0.0.2:1"]), &set(&["10.0.0.2:1", "10.0.0.3:1"]));
        assert_eq!((added, removed), (sockets(&["10.0.0.3:1"]), sockets(&["10.0.0.1:1"])));
    }
}
