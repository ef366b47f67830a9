//! What the kernel lists of our own table.

use agent::{
    netlink::wire,
    rules::nftables::listing::{Listed, Listing, rule},
};

use crate::our_rules;

/// NFT_MSG_NEWTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, which answers have for types too.
const TABLE: u16 = 0x0a00;
const CHAIN: u16 = 0x0a03;
const RULE: u16 = 0x0a06;

/// Answers with a table, its chains and its rules: what is missing is ours, and rules of others are never taken for
/// ours.
pub fn nft_listing(data: &[u8]) {
    let wanted = our_rules();
    let (listing, listed) = read(data);
    let missing = listing.missing(&wanted, listed.clone());
    assert!(missing.iter().all(|rule| wanted.contains(rule)));
    let mut once = missing.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), missing.len(), "none is missing twice");

    let all = |missing: Vec<_>| missing.len() == wanted.len();
    assert!(all(listing.missing(&wanted, Vec::new())), "what is not listed is missing");
    assert!(
        all(Listing::default().missing(&wanted, listed.clone())),
        "without its table no rule is in force"
    );
    if missing.is_empty() {
        assert_eq!(listed.iter().filter(|(chain, _)| is_ours(chain)).count(), wanted.len());
        for at in 0..listed.len() {
            let mut twice = listed.clone();
            twice.insert(at, listed[at].clone());
            assert_eq!(listing.missing(&wanted, twice).is_empty(), !is_ours(&listed[at].0));
        }
    }
}

fn is_ours(chain: &str) -> bool {
    agent::rules::nftables::layout::CHAINS.iter().any(|ours| ours.name == chain)
}

/// Whether nothing is missing of what these answers say.
#[must_use]
pub fn is_whole(data: &[u8]) -> bool {
    let (listing, listed) = read(data);
    listing.missing(&our_rules(), listed).is_empty()
}

fn read(data: &[u8]) -> (Listing, Vec<Listed>) {
    let (mut listing, mut listed) = (Listing::default(), Vec::new());
    for message in wire::messages(data) {
        let attributes = message.payload.get(4..).unwrap_or_default();
        match message.kind {
            TABLE => listing.add_table(attributes),
            CHAIN => listing.add_chain(attributes),
            RULE => listed.extend(rule(attributes)),
            _ => {}
        }
    }
    (listing, listed)
}
