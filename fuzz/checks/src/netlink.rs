//! What comes over netlink.

use agent::{
    netlink::{
        events::{
            Event, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NftChange,
            nft_event, route_event,
        },
        wire::{self, Message},
    },
    rules::{iptables::Iptables, nftables::Nftables},
};
use netlink_packet_core::{NetlinkBuffer, NlasIterator};

use crate::our_rules;

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;

/// A datagram: messages and attributes are those that another implementation reads, and lists of attributes are the
/// same as themselves.
pub fn netlink_messages(data: &[u8]) {
    let mut rest = data;
    for message in wire::messages(data) {
        let other = NetlinkBuffer::new_checked(rest).expect("another implementation reads it too");
        let length = usize::try_from(other.length()).unwrap();
        assert_eq!(
            (message.kind, message.flags, message.sequence, message.payload),
            (other.message_type(), other.flags(), other.sequence_number(), &rest[HEADER..length])
        );
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        attributes(message.payload);
    }
    assert!(rest.is_empty() || NetlinkBuffer::new_checked(rest).is_err(), "nothing is left out");
    attributes(data);
}

fn attributes(payload: &[u8]) {
    let ours: Vec<(u16, &[u8])> = wire::attributes(payload).collect();
    let theirs: Vec<_> = NlasIterator::new(payload).map_while(Result::ok).collect();
    assert!(ours.iter().copied().eq(theirs.iter().map(|theirs| (theirs.kind(), theirs.value()))));
    for (kind, value) in &ours {
        let first = ours.iter().find(|(there, _)| there == kind).map(|(_, value)| *value);
        assert_eq!(wire::attribute(payload, *kind), first);
        assert_eq!(wire::number(value).is_some(), value.len() == 4);
        if let Some(name) = wire::name(value) {
            assert!(value.starts_with(name.as_bytes()) && value.get(name.len()) == Some(&0));
        }
    }
    assert!(wire::same(payload, payload));
    // In another order and without flags, which is how the kernel may send what we wrote. Of attributes of one kind
    // the order counts.
    let mut kinds: Vec<u16> = ours.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.len() == ours.len() {
        let backwards: Vec<u8> = ours.iter().rev().flat_map(|(kind, value)| written(*kind, value)).collect();
        assert!(wire::same(payload, &backwards));
    }
    let more =
        [written(1 | NESTED, b"x"), ours.iter().flat_map(|(kind, value)| written(*kind, value)).collect()];
    assert!(!wire::same(payload, &more.concat()) && !wire::same(&more.concat(), payload));
}

/// An attribute as it is sent.
fn written(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(ATTRIBUTE_HEADER), 0);
    bytes
}

/// A datagram of events, from either socket: each says what its type allows, and none is taken for one about rules of
/// ours that names other tables.
pub fn netlink_events(data: &[u8]) {
    let rules = our_rules();
    let table = Nftables::new(&rules);
    for message in wire::messages(data) {
        match route_event(message) {
            Some(Event::Link { name, .. }) => {
                assert!([16, 17].contains(&message.kind));
                holds(message, name);
            }
            Some(Event::Address { .. }) => assert!([20, 21].contains(&message.kind)),
            Some(other) => panic!("{other:?} is nothing that rtnetlink tells"),
            None => {}
        }
        match nft_event(message) {
            Some(Event::Generation(_)) => assert_eq!(message.kind, 0x0a0f),
            Some(Event::Nft(change)) => {
                assert_eq!(message.kind, 0x0a00 | u16::from(change.kind));
                change_holds(message, change);
                if table.concerns(&change) {
                    assert_eq!((change.family, change.table), (1, table.table()));
                }
                if Iptables::concerns(&rules, &change) {
                    assert!([2, 10].contains(&change.family) && ["raw", "filter"].contains(&change.table));
                    assert!(change.kind < NFT_MSG_NEWCHAIN || !change.chain.is_empty());
                }
            }
            Some(other) => panic!("{other:?} is nothing that nf_tables tells"),
            None => {}
        }
    }
}

fn change_holds(message: Message<'_>, change: NftChange<'_>) {
    let of_chain = [NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN, NFT_MSG_NEWRULE, NFT_MSG_DELRULE];
    assert!(change.chain.is_empty() || of_chain.contains(&change.kind));
    assert_eq!(message.payload.first(), Some(&change.family));
    holds(message, change.table);
    holds(message, change.chain);
}

/// A name that was read is one that was sent.
fn holds(message: Message<'_>, name: &str) {
    assert!(!name.contains('\0'));
    let sent = [name.as_bytes(), b"\0"].concat();
    assert!(name.is_empty() || message.payload.windows(sent.len()).any(|there| there == sent));
}
