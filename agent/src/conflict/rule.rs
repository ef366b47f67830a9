//! One rule of nf_tables as the kernel dumps it: whether it fits a packet, and what it does then. Pure.
//!
//! Source: `include/uapi/linux/netfilter/nf_tables.h`.

use super::{
    machine::Machine,
    packet::{Answer, Cell, Fit, Packet},
    walk::Then,
};
use crate::netlink::wire::{attribute, attributes, name, number};

/// What a rule does with a packet, as far as it can be told without looking into sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// How it fits, apart from `members`.
    pub fit: Fit,
    /// Sets that the packet must be in.
    pub members: Vec<Lookup>,
    /// What it does, apart from `map`.
    pub then: Then,
    /// A map that says what it does.
    pub map: Option<Lookup>,
}

/// A question to a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The set's name, in the rule's table.
    pub set: String,
    /// The key, and more bytes after it: only the set knows how long its keys are.
    pub key: Vec<Cell>,
    /// Whether the packet must not be in it.
    pub inverted: bool,
}

/// Reads the expressions of a rule (the value of NFTA_RULE_EXPRESSIONS). Nothing if it does not fit the packet.
#[must_use]
pub fn read(expressions: &[u8], packet: Packet) -> Option<Rule> {
    let mut machine = Machine::new(packet);
    for (_, expression) in attributes(expressions) {
        let (kind, data) = (attribute(expression, 1).and_then(name), attribute(expression, 2));
        let answer = machine.run(kind.unwrap_or_default(), data.unwrap_or_default());
        machine.rule.fit = machine.rule.fit.and(answer.unwrap_or(Answer::UNKNOWN))?;
        if machine.rule.then != Then::Next || machine.rule.map.is_some() {
            break;
        }
    }
    Some(machine.rule)
}

/// Reads a verdict (`enum nft_verdict_attributes`).
#[must_use]
pub fn verdict(data: &[u8]) -> Option<Then> {
    let chain = || attribute(data, 2).and_then(name).map(ToOwned::to_owned);
    Some(match number(attribute(data, 1)?)?.cast_signed() {
        // NFT_JUMP, NFT_GOTO, NFT_RETURN; NF_DROP, NF_ACCEPT and so on are not negative.
        -3 => Then::Jump(chain()?),
        -4 => Then::Goto(chain()?),
        -5 => Then::Return,
        0.. => Then::Stop,
        _ => Then::Next,
    })
}

/// The bytes of a `struct nft_data`.
#[must_use]
pub fn value(data: &[u8]) -> Option<&[u8]> {
    attribute(data, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Family;
    use proptest::prelude::*;

    fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    const KINDS: [&str; 18] = [
        "immediate",
        "meta",
        "payload",
        "fib",
        "bitwise",
        "cmp",
        "range",
        "lookup",
        "nat",
        "redir",
        "match",
        "target",
        "ct",
        "hash",
        "counter",
        "limit",
        "reject",
        "of-the-future",
    ];

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = (read(&bytes, Packet::any(Family::V4)), verdict(&bytes));
        }

        /// Each expression with attributes of any value: short, long, out of range.
        #[test]
        fn any_expressions_can_be_read(
            expressions in proptest::collection::vec(
                (0..KINDS.len(), proptest::collection::vec((1u16..8, any::<u32>(), 0usize..6, 0u32..24), 0..8)),
                0..8,
            ),
        ) {
            let mut rule = Vec::new();
            for (kind, values) in expressions {
                let data: Vec<u8> = values
                    .into_iter()
                    .flat_map(|(kind, any, shape, register)| match shape {
                        0 => nla(kind, &any.to_be_bytes()),
                        1 => nla(kind, &any.to_be_bytes()[..2]),
                        2 => nla(kind, &nla(1, &any.to_be_bytes())),
                        3 => nla(kind, &nla(2, &nla(1, &any.to_be_bytes()))),
                        _ => nla(kind, &register.to_be_bytes()),
                    })
                    .collect();
                let name = [KINDS[kind].as_bytes(), b"\0"].concat();
                rule.extend(nla(1, &[nla(1, &name), nla(2, &data)].concat()));
            }
            for packet in [Packet::to("10.96.0.1".parse().unwrap(), 443), Packet::any(Family::V6)] {
                let _ = read(&rule, packet);
            }
        }
    }
}
