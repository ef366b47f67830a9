//! The table of the nftables backend, as messages to nf_tables. Pure.
//!
//! ```text
//! table inet apiserver-proxy-443-5f0c1d2e {
//!   comment "kept in place by apiserver-proxy-sidecar"
//!   chain raw_prerouting { type filter hook prerouting priority raw; policy accept;
//!     ip daddr 10.96.0.2 tcp dport 443 counter notrack
//!   }
//!   chain raw_output …  chain filter_input …  chain filter_output …
//! }
//! ```
//!
//! Source: nft(8), `include/uapi/linux/netfilter/nf_tables.h`.

use std::{collections::BTreeSet, net::IpAddr, num::NonZeroU16};

use netlink_packet_core::Emitable;
use netlink_packet_netfilter::{
    NetfilterProtoFamily,
    nftables::{
        ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, Immediate,
        InetHookNumber, ListAttribute, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register,
        RuleAttribute, RuleMessage, TableAttribute, TableMessage, Verdict, VerdictAttribute,
    },
};

use crate::{
    netlink::nft::Change,
    rules::{End, Place, Rule},
    wanted::LocalAddress,
};

/// The family of the table: one for IPv4 and IPv6.
pub const FAMILY: NetfilterProtoFamily = NetfilterProtoFamily::Inet;
/// `NFPROTO_INET`, as events have it.
pub const FAMILY_NUMBER: u8 = 1;
/// `priority raw`: before connection tracking, -200.
const RAW: i32 = -300;
/// `priority filter`.
const FILTER: i32 = 0;
/// `NF_ACCEPT`
pub(super) const ACCEPT: u32 = 1;
/// NFTA_EXPR_NAME of an expression that only counts.
pub(super) const COUNTER: &str = "counter";
/// NFTNL_UDATA_TABLE_COMMENT of libnftnl: how nft keeps a table's comment.
const COMMENT: u8 = 0;
const COMMENT_TEXT: &[u8] = b"kept in place by apiserver-proxy-sidecar\0";
const IPPROTO_TCP: u8 = 6;
/// NFT_PAYLOAD_NETWORK_HEADER
const NETWORK: u32 = 1;
/// NFT_PAYLOAD_TRANSPORT_HEADER
const TRANSPORT: u32 = 2;

/// A base chain of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    pub(super) place: Place,
    pub(super) hook: InetHookNumber,
    pub(super) priority: i32,
}

/// All chains of the table.
pub const CHAINS: [Chain; 4] = [
    Chain {
        name: "raw_prerouting",
        place: Place::RawPrerouting,
        hook: InetHookNumber::PreRouting,
        priority: RAW,
    },
    Chain { name: "raw_output", place: Place::RawOutput, hook: InetHookNumber::LocalOut, priority: RAW },
    Chain {
        name: "filter_input",
        place: Place::FilterInput,
        hook: InetHookNumber::LocalIn,
        priority: FILTER,
    },
    Chain {
        name: "filter_output",
        place: Place::FilterOutput,
        hook: InetHookNumber::LocalOut,
        priority: FILTER,
    },
];

impl Chain {
    /// Those of `rules` that stand in it, in their order.
    pub fn rules<'a>(&self, rules: &'a [Rule]) -> impl Iterator<Item = &'a Rule> {
        rules.iter().filter(|rule| rule.place == self.place)
    }
}

/// The table's name: one an address set and port, so that agents with different ones keep different tables.
#[must_use]
pub fn table_name(rules: &[Rule]) -> String {
    let addresses: BTreeSet<LocalAddress> = rules.iter().map(|rule| rule.address).collect();
    let port = rules.first().map_or(0, |rule| rule.port.get());
    // FNV-1a, 32 bits: the same in every release.
    let mut hash: u32 = 0x811c_9dc5;
    for byte in addresses.iter().flat_map(|address| address.to_string().into_bytes().into_iter().chain([0])) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    format!("apiserver-proxy-{port}-{hash:08x}")
}

/// What makes the table, where there is none; an error (EEXIST) where there is one.
#[must_use]
pub fn create(table: &str, rules: &[Rule]) -> Vec<Change> {
    let mut messages = vec![new_table(table)];
    for chain in CHAINS {
        messages.push(NfTablesMessage::NewChain(new_chain(table, chain)));
        messages.extend(chain.rules(rules).map(|rule| new_rule(table, chain, rule)));
    }
    messages.into_iter().map(|message| (FAMILY, message)).collect()
}

/// What makes the table anew, whatever is there: created if need be, deleted, created.
#[must_use]
pub fn replace(table: &str, rules: &[Rule]) -> Vec<Change> {
    [new_table(table), delete(table)]
        .map(|message| (FAMILY, message))
        .into_iter()
        .chain(create(table, rules))
        .collect()
}

fn new_table(table: &str) -> NfTablesMessage {
    let mut comment = vec![COMMENT, u8::try_from(COMMENT_TEXT.len()).unwrap_or_default()];
    comment.extend(COMMENT_TEXT);
    let attributes = vec![TableAttribute::Name(table.to_owned()), TableAttribute::UserData(comment)];
    NfTablesMessage::NewTable(TableMessage { attributes })
}

/// What removes the table.
#[must_use]
pub fn delete(table: &str) -> NfTablesMessage {
    NfTablesMessage::DeleteTable(TableMessage { attributes: vec![TableAttribute::Name(table.to_owned())] })
}

fn new_chain(table: &str, chain: Chain) -> ChainMessage {
    let hook = vec![Hook::Number(chain.hook.into()), Hook::Priority(chain.priority.cast_unsigned())];
    let attributes = vec![
        ChainAttribute::Table(table.to_owned()),
        ChainAttribute::Name(chain.name.to_owned()),
        ChainAttribute::Hook(hook),
        ChainAttribute::Policy(ACCEPT),
        ChainAttribute::Type("filter".to_owned()),
    ];
    ChainMessage { attributes }
}

fn new_rule(table: &str, chain: Chain, rule: &Rule) -> NfTablesMessage {
    let attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.name.to_owned()),
        RuleAttribute::Expressions(expressions(rule)),
    ];
    NfTablesMessage::NewRule(RuleMessage { attributes })
}

/// A rule's expressions as bytes, to be held against what the kernel has.
#[must_use]
pub fn expression_bytes(rule: &Rule) -> Vec<u8> {
    let expressions = expressions(rule);
    let mut bytes = vec![0; expressions.as_slice().buffer_len()];
    expressions.as_slice().emit(&mut bytes);
    bytes
}

fn expressions(rule: &Rule) -> Vec<ListAttribute<ExpressionAttribute>> {
    let (family, (source, destination), address) = match rule.address.ip() {
        IpAddr::V4(ip) => (NetfilterProtoFamily::IPv4, (12, 16), ip.octets().to_vec()),
        IpAddr::V6(ip) => (NetfilterProtoFamily::IPv6, (8, 24), ip.octets().to_vec()),
    };
    let (address_at, port_at) = match rule.end {
        End::Source => (source, 0),
        End::Destination => (destination, 2),
    };
    let width = u32::try_from(address.len()).unwrap_or_default();
    let port: NonZeroU16 = rule.port;
    let done = match rule.place {
        Place::RawPrerouting | Place::RawOutput => named("notrack"),
        Place::FilterInput | Place::FilterOutput => accept(),
    };
    let all = [
        meta(MetaKey::Nfproto),
        equal(vec![family.into()]),
        payload(NETWORK, address_at, width),
        equal(address),
        meta(MetaKey::L4Proto),
        equal(vec![IPPROTO_TCP]),
        payload(TRANSPORT, port_at, 2),
        equal(port.get().to_be_bytes().to_vec()),
        named(COUNTER),
        done,
    ];
    all.into_iter().map(ListAttribute::from).collect()
}

fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(Register::Reg1)])
}

fn payload(base: u32, offset: u32, length: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

fn equal(value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

fn accept() -> Expressions {
    let verdict = DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(ACCEPT))]);
    Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Verdict), Immediate::Data(verdict)])
}

fn named(name: &str) -> Expressions {
    Expressions::Other { expression_type: name.to_owned(), attributes: Vec::new() }
}
