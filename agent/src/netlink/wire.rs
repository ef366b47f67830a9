//! Netlink messages and their attributes, walked over without copying and without trusting a length.
//!
//! The packet crates build what is sent; here is what is read where speed counts: a restore of 15,000 rules by
//! somebody else is some 20,000 messages, of which a type and two names matter.
//!
//! Source: netlink(7), RFC 3549, `include/uapi/linux/netlink.h`.

use std::ffi::CStr;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// NLA_F_NESTED
const NESTED: u16 = 0x8000;
/// Without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER.
const TYPE_MASK: u16 = 0x3fff;

/// One message, as a slice of the buffer it arrived in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// All messages of a datagram. Ends at the first whose length can't be right.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            payload: datagram.get(HEADER..length)?,
        };
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// All attributes of a message's or another attribute's payload, type and value. Ends at the first whose length
/// can't be right.
pub fn attributes(payload: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    raw_attributes(payload).map(|(kind, value)| (kind & TYPE_MASK, value))
}

/// As [`attributes`], with the flags in the type.
fn raw_attributes(mut payload: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(payload, 0)?);
        let kind = u16_at(payload, 2)?;
        let value = payload.get(ATTRIBUTE_HEADER..length)?;
        payload = payload.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Whether two lists of attributes say the same, in whatever order. Which values are lists themselves is known from
/// the flags in `marked`: the kernel leaves them out of most of what it sends. So `marked` is to be ours: how deep it
/// is nested is how deep this goes.
#[must_use]
pub fn same(marked: &[u8], other: &[u8]) -> bool {
    let sorted = |payload| {
        let mut all: Vec<(u16, &[u8])> = raw_attributes(payload).collect();
        all.sort_by_key(|(kind, _)| kind & TYPE_MASK);
        all
    };
    let (marked, other) = (sorted(marked), sorted(other));
    marked.len() == other.len()
        && marked.iter().zip(&other).all(|((kind, value), (other_kind, other_value))| {
            let nested = kind & NESTED != 0;
            (kind ^ other_kind) & TYPE_MASK == 0
                && if nested { same(value, other_value) } else { value == other_value }
        })
}

/// The value of the first attribute of a type.
#[must_use]
pub fn attribute(payload: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(payload).find(|(there, _)| *there == kind).map(|(_, value)| value)
}

/// A name, which ends with a zero byte.
#[must_use]
pub fn name(value: &[u8]) -> Option<&str> {
    CStr::from_bytes_until_nul(value).ok()?.to_str().ok()
}

/// A number in network byte order, as nf_tables has them.
#[must_use]
pub fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A number in the machine's byte order.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A short number in the machine's byte order.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Messages and attributes begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn message_bytes(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let attributes_bytes =
            [attribute_bytes(1, b"raw\0"), attribute_bytes(0x8002, &7u32.to_be_bytes())].concat();
        let datagram = [message_bytes(5, &attributes_bytes), message_bytes(6, b"")].concat();
        let read: Vec<Message<'_>> = messages(&datagram).collect();
        assert_eq!(read.iter().map(|message| message.kind).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(attribute(read[0].payload, 1).and_then(name), Some("raw"));
        assert_eq!(attribute(read[0].payload, 2).and_then(number), Some(7), "flags are no part of the type");
        assert_eq!(attribute(read[0].payload, 3), None);
    }

    #[test]
    fn lists_are_the_same_without_flags_and_in_any_order() {
        let list = |flags: u16, port: u8| {
            let inner = [attribute_bytes(1, b"tcp\0"), attribute_bytes(2, &[port])].concat();
            [attribute_bytes(flags | 1, &inner), attribute_bytes(2, b"\x01")].concat()
        };
        assert!(same(&list(NESTED, 7), &list(0, 7)));
        assert!(!same(&list(NESTED, 7), &list(0, 8)));
        assert!(!same(&list(NESTED, 7), &list(0, 7)[..8]));
        let (one, two) = (attribute_bytes(1, b"a"), attribute_bytes(2, b"b"));
        assert!(same(&[one.clone(), two.clone()].concat(), &[two.clone(), one.clone()].concat()));
        assert!(!same(&one, &two) && !same(&one, &[one.clone(), two].concat()));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let good = message_bytes(5, b"");
        let mut long = good.clone();
        long[0] = 200;
        let mut short = good.clone();
        short[0] = 3;
        for bad in [long, short, vec![16, 0, 0]] {
            assert_eq!(messages(&[good.clone(), bad].concat()).count(), 1);
        }
        for bad in [&[3, 0, 1, 0][..], &[0, 0, 0, 0], &[9, 0, 1, 0], &[4]] {
            assert_eq!(attributes(bad).count(), 0, "{bad:?}");
        }
        assert_eq!(name(b"no end"), None);
        assert_eq!(name(b"\xff\0"), None);
        assert_eq!(number(b"123"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_walked_over(bytes: Vec<u8>) {
            for message in messages(&bytes) {
                for (_, value) in attributes(message.payload) {
                    let _ = (name(value), number(value), attributes(value).count());
                }
            }
        }
    }
}
