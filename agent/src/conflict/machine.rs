//! Goes through the expressions of a rule as the kernel would do it, with registers of which only some bytes are
//! known. What is not understood makes the outcome uncertain, never wrong.
//!
//! Source: `include/uapi/linux/netfilter/nf_tables.h` and `nf_tables_compat.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    packet::{Answer, Cell, Fit, Packet, TCP},
    registers::{Registers, compare, within},
    rule::{Lookup, Rule, value, verdict},
    translation::{Part, Translation},
    walk::Then,
    xtables,
};
use crate::{
    netlink::wire::{attribute, name, number},
    rules::Family,
};

/// What is known while a rule is gone through.
#[derive(Debug)]
pub struct Machine {
    packet: Packet,
    registers: Registers,
    /// What came out so far.
    pub rule: Rule,
}

/// What an expression answers that has no condition.
const HOLDS: Answer = Answer { truth: Some(true), names: false };

impl Machine {
    /// Before the first expression.
    #[must_use]
    pub fn new(packet: Packet) -> Self {
        let rule = Rule { fit: Fit::ALL, members: Vec::new(), then: Then::Next, map: None };
        Self { packet, registers: Registers::default(), rule }
    }

    /// Carries one expression out. Nothing if it is not understood.
    #[must_use]
    pub fn run(&mut self, kind: &str, data: &[u8]) -> Option<Answer> {
        let value_of = |kind| attribute(data, kind).and_then(number);
        let length = |kind| value_of(kind).and_then(|length| usize::try_from(length).ok());
        match kind {
            "counter" | "log" | "last" | "notrack" | "objref" | "masq" => return Some(HOLDS),
            "limit" | "quota" | "connlimit" | "dynset" => return None,
            "reject" => self.rule.then = Then::Stop,
            "immediate" => self.immediate(value_of(1)?, attribute(data, 2)?),
            // Without a register to put it in, it sets something, here and below.
            "meta" => {
                if let Some(register) = value_of(1) {
                    self.meta(register, value_of(2)?);
                }
            }
            "payload" => {
                if let Some(register) = value_of(1) {
                    self.payload(register, value_of(2)?, length(3)?, length(4)?);
                }
            }
            "fib" => self.fib(value_of(1)?, value_of(2)?, value_of(3)?),
            "bitwise" => {
                let (from, to, length) = (value_of(1)?, value_of(2)?, length(3)?);
                self.bitwise(from, to, length, value_of(6).unwrap_or_default(), data);
            }
            "cmp" => {
                let with = attribute(data, 3).and_then(value)?;
                return Some(compare(self.registers.from(value_of(1)?), value_of(2)?, with));
            }
            "range" => {
                let end = |kind| attribute(data, kind).and_then(value);
                let answer = within(self.registers.from(value_of(1)?), end(3)?, end(4)?);
                return Some(answer.inverted_if(value_of(2)? == 1));
            }
            "lookup" => self.lookup(data)?,
            "nat" => {
                if value_of(1)? == 1 {
                    self.rule.then = Then::Translate(self.dnat(value_of));
                }
            }
            "redir" => {
                let port = self.port(value_of(1), value_of(2));
                self.rule.then = Then::Translate(Translation { address: Part::Unknown, port });
            }
            "match" => {
                let (kind, info) = (attribute(data, 1).and_then(name)?, attribute(data, 3)?);
                return Some(xtables::matches(kind, value_of(2)?, info, self.packet));
            }
            "target" => {
                let (kind, info) = (attribute(data, 1).and_then(name)?, attribute(data, 3)?);
                self.rule.then = xtables::target(kind, info, self.packet);
            }
            "ct" | "numgen" | "rt" | "exthdr" | "socket" | "osf" | "tunnel" | "xfrm" => {
                if let Some(register) = value_of(1) {
                    self.registers.forget(register);
                }
            }
            "hash" | "byteorder" => self.registers.forget(value_of(2)?),
            _ => {
                self.registers.forget_all();
                return None;
            }
        }
        Some(HOLDS)
    }

    fn immediate(&mut self, register: u32, data: &[u8]) {
        if let Some(value) = value(data) {
            self.registers.set(register, value.iter().map(|byte| Cell::of(*byte)));
        } else if let Some(then) = attribute(data, 2).and_then(verdict) {
            self.rule.then = then;
        }
    }

    fn meta(&mut self, register: u32, key: u32) {
        const NFPROTO: u32 = 15;
        const L4PROTO: u32 = 16;
        let family = match self.packet.family {
            Family::V4 => 2,
            Family::V6 => 10,
        };
        match key {
            NFPROTO => self.registers.set(register, [Cell::of(family)].into_iter()),
            L4PROTO => self.registers.set(register, [Cell::of(TCP)].into_iter()),
            _ => self.registers.forget(register),
        }
    }

    fn payload(&mut self, register: u32, base: u32, offset: usize, length: usize) {
        let packet = self.packet;
        let at = |at: usize| match base {
            1 => packet.network(offset.saturating_add(at)),
            2 => packet.transport(offset.saturating_add(at)),
            _ => Cell::default(),
        };
        self.registers.set(register, (0..length.min(64)).map(at));
    }

    /// The only question to the routing table that has an answer: our address is one of the node's own.
    fn fib(&mut self, register: u32, result: u32, flags: u32) {
        const ADDRTYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        const RTN_LOCAL: u32 = 2;
        if (result, flags) == (ADDRTYPE, DESTINATION) && self.packet.destination.is_some() {
            let local = RTN_LOCAL.to_ne_bytes().map(|byte| Cell { value: Some(byte), destination: true });
            self.registers.set(register, local.into_iter());
        } else {
            self.registers.forget(register);
        }
    }

    fn bitwise(&mut self, from: u32, to: u32, length: usize, operation: u32, data: &[u8]) {
        let operand = |kind| attribute(data, kind).and_then(value);
        let (Some(mask), Some(flip), 0) = (operand(4), operand(5), operation) else {
            self.registers.forget(to);
            return;
        };
        self.registers.map(from, to, length, |at, cell| {
            let (Some(mask), Some(flip)) = (mask.get(at), flip.get(at)) else { return Cell::default() };
            let known = if *mask == 0 { Some(0) } else { cell.value };
            Cell {
                value: known.map(|byte| (byte & mask) ^ flip),
                destination: cell.destination && *mask != 0,
            }
        });
    }

    fn lookup(&mut self, data: &[u8]) -> Option<()> {
        let value_of = |kind| attribute(data, kind).and_then(number);
        let key = self.registers.from(value_of(2)?).to_vec();
        let inverted = value_of(5).unwrap_or_default() & 1 != 0;
        let lookup = Lookup { set: name(attribute(data, 1)?)?.to_owned(), key, inverted };
        match value_of(3) {
            None => self.rule.members.push(lookup),
            Some(0) => self.rule.map = Some(lookup),
            // Only what is in the map fits. What comes out of it, a new destination for instance, is not known.
            Some(register) => {
                self.rule.members.push(lookup);
                self.registers.forget(register);
            }
        }
        Some(())
    }

    fn dnat(&self, value_of: impl Fn(u16) -> Option<u32>) -> Translation {
        let address = |register| {
            let known = |cell: &Cell| cell.value;
            let bytes = self.registers.from(register).iter().map_while(known).collect::<Vec<u8>>();
            Some(match self.packet.family {
                Family::V4 => IpAddr::from(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
                Family::V6 => IpAddr::from(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
            })
        };
        let address = match (value_of(3), value_of(4)) {
            (None, _) => Part::Same,
            (Some(from), to) => match (address(from), address(to.unwrap_or(from))) {
                (Some(from), Some(to)) => Part::Range(from, to),
                _ => Part::Unknown,
            },
        };
        Translation { address, port: self.port(value_of(5), value_of(6)) }
    }

    fn port(&self, from: Option<u32>, to: Option<u32>) -> Part<u16> {
        let port = |register| {
            let (high, low) = match self.registers.from(register) {
                [high, low, ..] => (high.value?, low.value?),
                _ => return None,
            };
            Some(u16::from_be_bytes([high, low]))
        };
        let Some(from) = from else { return Part::Same };
        match (port(from), port(to.unwrap_or(from))) {
            (Some(from), Some(to)) => Part::Range(from, to),
            _ => Part::Unknown,
        }
    }
}
