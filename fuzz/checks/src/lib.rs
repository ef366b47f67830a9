//! For tests only: what holds of any bytes that a parser is given. One function a parser of bytes that others write,
//! named for it; each panics if its parser breaks a promise.
//!
//! `make fuzz` has libFuzzer look for such bytes. `cargo test -p fuzz-checks` tries what is in `fuzz/seeds`, so that
//! the two can't grow apart.

// A broken promise is to be as loud as it can be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admission;
mod certificate;
mod conflict;
mod egress;
mod iptables;
mod netlink;
mod nft;
mod proxy;
mod unix;

pub use admission::admission_review;
pub use certificate::{certificate_secret, webhook_registration};
pub use conflict::{conflict_elements, conflict_legacy, conflict_rule};
pub use egress::egress_config;
pub use iptables::{iptables_answer, iptables_listing};
pub use netlink::{netlink_events, netlink_messages};
pub use nft::{is_whole, nft_listing};
pub use proxy::{connect_answer, endpoint_slices, kept_endpoints, proxy_config};
pub use unix::unix_socket_names;

use agent::rules::{self, Rule};

/// A check, by the name that it has here, in `fuzz/seeds` and in `fuzz/fuzz_targets`.
pub type Check = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Check; 17] = [
    ("admission_review", admission_review),
    ("certificate_secret", certificate_secret),
    ("connect_answer", connect_answer),
    ("conflict_elements", conflict_elements),
    ("conflict_legacy", conflict_legacy),
    ("conflict_rule", conflict_rule),
    ("egress_config", egress_config),
    ("endpoint_slices", endpoint_slices),
    ("iptables_answer", iptables_answer),
    ("iptables_listing", iptables_listing),
    ("kept_endpoints", kept_endpoints),
    ("netlink_events", netlink_events),
    ("netlink_messages", netlink_messages),
    ("nft_listing", nft_listing),
    ("proxy_config", proxy_config),
    ("unix_socket_names", unix_socket_names),
    ("webhook_registration", webhook_registration),
];

/// The rules that the seeds were recorded with: five of IPv4, five of IPv6.
#[must_use]
pub fn our_rules() -> Vec<Rule> {
    let of = |address: &str| rules::for_address(address.parse().unwrap(), 443.try_into().unwrap());
    ["10.96.0.2", "fd00::2"].into_iter().flat_map(of).collect()
}
