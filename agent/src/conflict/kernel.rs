//! Looks through the rules of nf_tables, those of iptables-nft among them.
//!
//! A node may have 15,000 rules. For what takes an address over, the way of a packet is followed from the nat hooks
//! on, so that only chains are dumped that it may reach. For what leads to an address, all rules of tables with nat
//! chains are dumped, and only those read that hold the bytes of the address.

use std::{collections::BTreeSet, net::IpAddr};

use netlink_packet_netfilter::{
    NetfilterProtoFamily,
    nftables::{
        ChainMessage, DataAttribute, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage,
        SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetMessage,
    },
};

use super::{
    Conflict, Kind, Question,
    elements::{Shape, elements},
    packet::{Answer, Cell, Packet},
    rule::{self, Lookup, Rule},
    translation::{Part, Translation},
    walk::{self, Source, Step, Then},
};
use crate::{
    netlink::{
        nft::{Nft, NftError},
        wire::{attribute, name, number},
    },
    rules::Family,
};

/// Rules that hold an address and are looked at closely, and elements of a map that are followed.
const MOST: usize = 1000;

/// Looks for conflicts in nf_tables.
///
/// # Errors
/// When the kernel refuses.
pub fn look(question: &Question) -> Result<Vec<Conflict>, NftError> {
    let mut nft = Nft::open()?;
    let mut found = Vec::new();
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6, NetfilterProtoFamily::Inet] {
        let addresses: Vec<IpAddr> = match family {
            NetfilterProtoFamily::IPv4 => question.addresses_of(Family::V4).collect(),
            NetfilterProtoFamily::IPv6 => question.addresses_of(Family::V6).collect(),
            _ => question.addresses.iter().map(|address| address.ip()).collect(),
        };
        if addresses.is_empty() {
            continue;
        }
        let hooks = hooks(&mut nft, family)?;
        if question.rules {
            for table in hooks.iter().map(|hook| hook.table.as_str()).collect::<BTreeSet<_>>() {
                let mut table = Table { nft: &mut nft, family, name: table };
                let targets = table.targets(&addresses, question.port.get())?;
                let conflict = |(address, place)| question.conflict(address, Kind::Target, place);
                found.extend(targets.into_iter().map(conflict));
            }
            continue;
        }
        for hook in hooks {
            let mut table = Table { nft: &mut nft, family, name: &hook.table };
            for address in &addresses {
                let packet = Packet::to(*address, question.port.get());
                if let Some(chains) = walk::translated(&mut table, &hook.chain, packet)? {
                    let place = table.place(&chains.join(" > "));
                    found.push(question.conflict(*address, Kind::Destination, place));
                }
            }
        }
    }
    Ok(found)
}

/// A base chain that translates destinations.
struct Hook {
    table: String,
    chain: String,
}

/// The base chains of type nat at prerouting and output: the only ones where a DNAT can be, or can be come from.
fn hooks(nft: &mut Nft, family: NetfilterProtoFamily) -> Result<Vec<Hook>, NftError> {
    const PREROUTING: u32 = 0;
    const OUTPUT: u32 = 3;
    let request = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    nft.dump("list the chains", family, &request, |hooks: &mut Vec<Hook>, chain| {
        let text = |kind| attribute(chain, kind).and_then(name);
        let hook = attribute(chain, 4).and_then(|hook| attribute(hook, 1)).and_then(number);
        if let (Some("nat"), Some(PREROUTING | OUTPUT)) = (text(7), hook)
            && let (Some(table), Some(chain)) = (text(1), text(3))
        {
            hooks.push(Hook { table: table.to_owned(), chain: chain.to_owned() });
        }
    })
}

/// One table of nf_tables.
struct Table<'a> {
    nft: &'a mut Nft,
    family: NetfilterProtoFamily,
    name: &'a str,
}

impl Source for Table<'_> {
    type Error = NftError;

    fn chain(&mut self, name: &str, packet: Packet) -> Result<Vec<Step>, NftError> {
        let request = NfTablesMessage::GetRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.name.to_owned()),
                RuleAttribute::Chain(name.to_owned()),
            ],
        });
        let rules = self.nft.dump("list a chain", self.family, &request, |rules: &mut Vec<Rule>, rule| {
            let rule = attribute(rule, 4).and_then(|expressions| rule::read(expressions, packet));
            rules.extend(rule.filter(|rule| rule.then != Then::Next || rule.map.is_some()));
        })?;
        let mut steps = Vec::new();
        for rule in rules {
            steps.extend(self.steps(rule)?);
        }
        Ok(steps)
    }
}

impl Table<'_> {
    /// Where something is, as an operator would look for it.
    fn place(&self, chains: &str) -> String {
        let family = match self.family {
            NetfilterProtoFamily::IPv4 => "ip",
            NetfilterProtoFamily::IPv6 => "ip6",
            _ => "inet",
        };
        format!("{family} {} {chains}", self.name)
    }

    /// Asks the sets that a rule refers to.
    fn steps(&mut self, rule: Rule) -> Result<Vec<Step>, NftError> {
        let mut fit = rule.fit;
        for lookup in &rule.members {
            let found = self.find(lookup)?;
            match fit.and(found.answer.inverted_if(lookup.inverted)) {
                Some(more) => fit = more,
                None => return Ok(Vec::new()),
            }
        }
        let Some(map) = &rule.map else { return Ok(vec![Step { fit, then: rule.then }]) };
        let found = self.find(map)?;
        let Some(fit) = fit.and(found.answer) else { return Ok(Vec::new()) };
        Ok(found.thens.into_iter().map(|then| Step { fit, then }).collect())
    }

    fn find(&mut self, lookup: &Lookup) -> Result<Found, NftError> {
        let mut shape = None;
        let request = NfTablesMessage::GetSet(SetMessage {
            attributes: vec![
                SetAttribute::Table(self.name.to_owned()),
                SetAttribute::Name(lookup.set.clone()),
            ],
        });
        self.nft.get("look at a set", self.family, request, |_, set| shape = Shape::read(set))?;
        let key = shape.and_then(|shape| Some((shape, lookup.key.get(..shape.key_length)?)));
        let Some((shape, key)) = key else {
            return Ok(Found { answer: Answer::UNKNOWN, thens: Vec::new() });
        };
        let names = key.iter().any(|cell| cell.destination);
        let known: Option<Vec<u8>> = key.iter().map(|cell| cell.value).collect();
        match known {
            Some(known) => {
                let mut thens = Vec::new();
                let request = self.request(lookup, Some(known));
                let there = self.nft.get("look up an element", self.family, request, |_, message| {
                    thens.extend(elements(message).filter_map(|element| element.then));
                })?;
                Ok(Found { answer: Answer { truth: Some(there), names }, thens })
            }
            None => self.find_all(lookup, shape, key, names),
        }
    }

    /// All elements that may be the one, where a part of the key is unknown.
    fn find_all(
        &mut self,
        lookup: &Lookup,
        shape: Shape,
        key: &[Cell],
        names: bool,
    ) -> Result<Found, NftError> {
        let request = self.request(lookup, None);
        let found: (bool, Vec<Then>) = self.nft.dump(
            "list a set",
            self.family,
            &request,
            |(there, thens): &mut (bool, Vec<Then>), message| {
                for element in elements(message).filter(|element| shape.may_be(element, key)) {
                    *there = true;
                    thens.extend(element.then.filter(|then| thens.len() < MOST && !thens.contains(then)));
                }
            },
        )?;
        let (there, mut thens) = found;
        // The kernel keeps them in no order, and the answer is to be the same each time.
        thens.sort_unstable();
        Ok(Found { answer: Answer { truth: (!there).then_some(false), names }, thens })
    }

    /// A question for one element, or for all.
    fn request(&self, lookup: &Lookup, key: Option<Vec<u8>>) -> NfTablesMessage {
        let mut attributes =
            vec![SetElementList::Table(self.name.to_owned()), SetElementList::Set(lookup.set.clone())];
        attributes.extend(key.map(|key| {
            let key = SetElementAttribute::Key(DataAttribute::Value(key));
            SetElementList::Elements(vec![ListAttribute::Element(vec![key])])
        }));
        NfTablesMessage::GetSetElement(SetElementMessage { attributes })
    }

    /// Whatever sends packets to one of the addresses: which one, and where.
    fn targets(&mut self, addresses: &[IpAddr], port: u16) -> Result<Vec<(IpAddr, String)>, NftError> {
        let request = NfTablesMessage::GetRule(RuleMessage {
            attributes: vec![RuleAttribute::Table(self.name.to_owned())],
        });
        let hits = self.nft.dump("list a table", self.family, &request, |hits: &mut Vec<Hit>, rule| {
            let Some(expressions) = attribute(rule, 4) else { return };
            let here = addresses.iter().filter(|address| holds(expressions, address));
            for address in here.take(MOST.saturating_sub(hits.len())) {
                let chain = attribute(rule, 2).and_then(name).unwrap_or_default().to_owned();
                hits.push(Hit { address: *address, chain, expressions: expressions.to_vec() });
            }
        })?;
        let mut found = Vec::new();
        for Hit { address, chain, expressions } in hits {
            if self.is_target(address, port, &expressions)? {
                found.push((address, self.place(&chain)));
            }
        }
        Ok(found)
    }

    fn is_target(&mut self, address: IpAddr, port: u16, expressions: &[u8]) -> Result<bool, NftError> {
        let mut packet = Packet { port: None, destination: None, ..Packet::to(address, port) };
        let Some(Rule { then: Then::Translate(translation), .. }) = rule::read(expressions, packet) else {
            return Ok(false);
        };
        if !translation.leads_to(address, port) {
            return Ok(false);
        }
        // Where the port stays, the rule must be one for our port.
        if matches!(translation, Translation { port: Part::Same, .. }) {
            packet.port = Some(port);
        }
        match rule::read(expressions, packet) {
            Some(rule) => Ok(!self.steps(rule)?.is_empty()),
            None => Ok(false),
        }
    }
}

/// What a set or map says.
struct Found {
    answer: Answer,
    thens: Vec<Then>,
}

/// A rule that holds the bytes of an address.
struct Hit {
    address: IpAddr,
    chain: String,
    expressions: Vec<u8>,
}

/// Whether the bytes of an address are anywhere in a rule. By chance they are in others too.
fn holds(bytes: &[u8], address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => holds_array(bytes, ip.octets()),
        IpAddr::V6(ip) => holds_array(bytes, ip.octets()),
    }
}

fn holds_array<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> bool {
    bytes.windows(N).any(|window| window == wanted)
}
