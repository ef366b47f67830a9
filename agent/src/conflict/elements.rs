//! The elements of an nf_tables set or map as the kernel dumps them. Pure.
//!
//! Source: `include/uapi/linux/netfilter/nf_tables.h`.

use super::{
    packet::Cell,
    registers::equal,
    rule::{value, verdict},
    walk::Then,
};
use crate::netlink::wire::{attribute, attributes, number};

/// One element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    /// The key, or in a set of ranges one end of one. Everything, if there is none.
    pub key: Option<&'a [u8]>,
    /// Where a packet goes that is found here.
    pub then: Option<Then>,
}

/// What matters of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes.
    pub key_length: usize,
    /// Whether its elements are ranges.
    pub ranges: bool,
}

impl Shape {
    /// Reads the attributes of a set.
    #[must_use]
    pub fn read(set: &[u8]) -> Option<Self> {
        const INTERVAL: u32 = 4;
        let value_of = |kind| attribute(set, kind).and_then(number);
        let flags = value_of(3).unwrap_or_default();
        Some(Self { key_length: usize::try_from(value_of(5)?).ok()?, ranges: flags & INTERVAL != 0 })
    }

    /// Whether an element may be the one of a key.
    #[must_use]
    pub fn may_be(self, element: &Element<'_>, key: &[Cell]) -> bool {
        let Some(there) = element.key.filter(|_| !self.ranges) else { return true };
        equal(key, there).truth != Some(false)
    }
}

/// All elements of a message.
pub fn elements(message: &[u8]) -> impl Iterator<Item = Element<'_>> {
    attributes(attribute(message, 3).unwrap_or_default()).map(|(_, element)| Element {
        key: attribute(element, 1).and_then(value),
        then: attribute(element, 2).and_then(|data| attribute(data, 2)).and_then(verdict),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_bytes_of_a_key_are_compared() {
        let shape = Shape { key_length: 4, ranges: false };
        let element = |key| Element { key, then: None };
        let half = [Cell::of(1), Cell::default(), Cell::of(3)];
        assert!(shape.may_be(&element(Some(&[1, 2, 3])), &half));
        assert!(!shape.may_be(&element(Some(&[1, 2, 4])), &half));
        assert!(shape.may_be(&element(None), &half));
        assert!(Shape { ranges: true, ..shape }.may_be(&element(Some(&[9, 9, 9])), &half));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = Shape::read(&bytes);
            for element in elements(&bytes) {
                let _ = Shape { key_length: 4, ranges: false }.may_be(&element, &[Cell::of(1)]);
            }
        }
    }
}
