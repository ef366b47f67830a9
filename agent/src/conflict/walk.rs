//! The way of a packet through chains, until something translates its destination. Pure: a [`Source`] says what
//! the rules of a chain are.
//!
//! Conditions that nobody can answer beforehand (the sender, the interface, chance) are taken for possible, so
//! several ways are followed. A translation counts if something on the way to it asks for the packet's address, or
//! if nothing on the way is left to chance.

use std::collections::BTreeSet;

use super::{
    packet::{Fit, Packet},
    translation::Translation,
};

/// How deep chains are followed. kube-proxy needs five, with another program's chain around it.
const DEEPEST: usize = 8;
/// Chains that are looked at for one packet.
const MOST_CHAINS: usize = 64;

/// What a rule does with a packet that it fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// Nothing that matters here.
    Next,
    /// Accepts, drops, rejects: the packet sees no more rules of this hook.
    Stop,
    /// Back to where the chain was called.
    Return,
    /// To a chain, and back.
    Jump(String),
    /// To a chain, and not back.
    Goto(String),
    /// Another destination.
    Translate(Translation),
}

/// A rule that fits a packet, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How.
    pub fit: Fit,
    /// What it does.
    pub then: Then,
}

/// Where rules come from.
pub trait Source {
    /// Why they can't be had.
    type Error;

    /// The rules of a chain that fit the packet or may, in their order. None for a chain that is not there.
    ///
    /// # Errors
    /// When the rules can't be had.
    fn chain(&mut self, name: &str, packet: Packet) -> Result<Vec<Step>, Self::Error>;
}

/// Follows a packet from a chain of a nat hook on. If something translates its destination, the chains that lead
/// there: from the one that asks for its address on, or from the first if none does.
///
/// # Errors
/// When the rules can't be had.
pub fn translated<S: Source>(
    source: &mut S,
    root: &str,
    packet: Packet,
) -> Result<Option<Vec<String>>, S::Error> {
    let mut walk = Walk { source, packet, seen: BTreeSet::new() };
    Ok(match walk.chain(root, Fit::ALL, 0)? {
        End::Translated { mut chains, .. } => {
            chains.reverse();
            Some(chains)
        }
        End::Back | End::Stopped => None,
    })
}

struct Walk<'a, S> {
    source: &'a mut S,
    packet: Packet,
    /// The same chain may count once it is reached in another way.
    seen: BTreeSet<(String, bool, bool)>,
}

/// How a chain ends for a packet.
enum End {
    /// Its end is reached, or may be.
    Back,
    /// It sees no more rules.
    Stopped,
    Translated {
        /// The last one first.
        chains: Vec<String>,
        /// Whether the one that asks for the address is among them.
        complete: bool,
    },
}

impl<S: Source> Walk<'_, S> {
    fn chain(&mut self, name: &str, so_far: Fit, depth: usize) -> Result<End, S::Error> {
        let key = (name.to_owned(), so_far.certain, so_far.names);
        if depth > DEEPEST || self.seen.len() >= MOST_CHAINS || !self.seen.insert(key) {
            return Ok(End::Back);
        }
        for Step { fit, then } in self.source.chain(name, self.packet)? {
            let now = Fit { certain: so_far.certain && fit.certain, names: so_far.names || fit.names };
            let end = match &then {
                Then::Next => continue,
                Then::Stop => End::Stopped,
                Then::Return => End::Back,
                Then::Translate(translation) => {
                    if !translation.keeps(self.packet) && (now.certain || now.names) {
                        End::Translated { chains: Vec::new(), complete: false }
                    } else {
                        End::Stopped
                    }
                }
                Then::Jump(to) | Then::Goto(to) => self.chain(to, now, depth + 1)?,
            };
            match end {
                End::Translated { mut chains, complete } => {
                    if !complete {
                        chains.push(name.to_owned());
                    }
                    let complete = complete || (fit.names && !so_far.names);
                    return Ok(End::Translated { chains, complete });
                }
                End::Stopped if fit.certain => return Ok(End::Stopped),
                End::Back if fit.certain && !matches!(then, Then::Jump(_)) => return Ok(End::Back),
                End::Stopped | End::Back => {}
            }
        }
        Ok(End::Back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conflict::translation::Part;
    use std::{collections::BTreeMap, convert::Infallible};

    struct Table(BTreeMap<&'static str, Vec<Step>>, usize);

    impl Source for Table {
        type Error = Infallible;
        fn chain(&mut self, name: &str, _: Packet) -> Result<Vec<Step>, Infallible> {
            self.1 += 1;
            Ok(self.0.get(name).cloned().unwrap_or_default())
        }
    }

    const SURE: Fit = Fit::ALL;
    const PERHAPS: Fit = Fit { certain: false, names: false };
    const NAMED: Fit = Fit { certain: true, names: true };

    fn jump(fit: Fit, to: &str) -> Step {
        Step { fit, then: Then::Jump(to.to_owned()) }
    }

    fn dnat(to: &str, port: Part<u16>) -> Then {
        let to = to.parse().unwrap();
        Then::Translate(Translation { address: Part::Range(to, to), port })
    }

    fn away(fit: Fit) -> Step {
        Step { fit, then: dnat("10.0.0.1", Part::Range(6443, 6443)) }
    }

    fn walk<const N: usize>(chains: [(&'static str, Vec<Step>); N]) -> String {
        let packet = Packet::to("10.96.0.1".parse().unwrap(), 443);
        let Ok(found) = translated(&mut Table(BTreeMap::from(chains), 0), "PREROUTING", packet);
        found.unwrap_or_default().join(" > ")
    }

    #[test]
    fn the_chains_from_the_address_on_are_told() {
        let services = vec![jump(NAMED, "SVC")];
        let service = vec![jump(SURE, "MARK"), jump(PERHAPS, "SEP")];
        let chains = [
            ("PREROUTING", vec![jump(SURE, "SERVICES")]),
            ("SERVICES", services),
            ("SVC", service),
            ("SEP", vec![away(SURE)]),
        ];
        assert_eq!(walk(chains), "SERVICES > SVC > SEP");
        assert_eq!(walk([("PREROUTING", vec![away(NAMED)])]), "PREROUTING");
    }

    #[test]
    fn chance_alone_is_no_conflict_but_certainty_is() {
        assert_eq!(walk([("PREROUTING", vec![away(PERHAPS)])]), "");
        assert_eq!(walk([("PREROUTING", vec![jump(PERHAPS, "A")]), ("A", vec![away(SURE)])]), "");
        assert_eq!(walk([("PREROUTING", vec![jump(SURE, "A")]), ("A", vec![away(SURE)])]), "PREROUTING > A");
        // A chain that did not count on one way may count on the next.
        let twice = vec![jump(PERHAPS, "A"), jump(NAMED, "A")];
        assert_eq!(walk([("PREROUTING", twice), ("A", vec![away(SURE)])]), "PREROUTING > A");
    }

    #[test]
    fn what_ends_the_way_before_ends_it() {
        let end = |fit, then| vec![Step { fit, then }, away(NAMED)];
        for then in [Then::Stop, Then::Return, Then::Goto("EMPTY".to_owned())] {
            assert_eq!(walk([("PREROUTING", end(SURE, then.clone()))]), "", "{then:?}");
            assert_eq!(walk([("PREROUTING", end(PERHAPS, then))]), "PREROUTING");
        }
        let stops = vec![Step { fit: SURE, then: Then::Stop }];
        assert_eq!(walk([("PREROUTING", end(SURE, Then::Jump("A".to_owned()))), ("A", stops)]), "");
        let returns = vec![Step { fit: SURE, then: Then::Return }];
        assert_eq!(
            walk([("PREROUTING", end(SURE, Then::Jump("A".to_owned()))), ("A", returns)]),
            "PREROUTING"
        );
    }

    #[test]
    fn a_translation_to_the_same_place_is_none() {
        for (port, expected) in [
            (Part::Same, ""),
            (Part::Range(443, 443), ""),
            (Part::Range(443, 444), "PREROUTING"),
            (Part::Range(80, 80), "PREROUTING"),
            (Part::Unknown, "PREROUTING"),
        ] {
            let to_itself = Step { fit: NAMED, then: dnat("10.96.0.1", port) };
            assert_eq!(walk([("PREROUTING", vec![to_itself])]), expected, "{port:?}");
        }
    }

    #[test]
    fn loops_and_crowds_end() {
        assert_eq!(walk([("PREROUTING", vec![jump(SURE, "PREROUTING")])]), "");
        let names: Vec<&'static str> = (0..500).map(|n| &*format!("C{n}").leak()).collect();
        let mut table = Table(BTreeMap::new(), 0);
        table.0.insert("PREROUTING", names.iter().map(|name| jump(NAMED, name)).collect());
        let packet = Packet::to("10.96.0.1".parse().unwrap(), 443);
        assert_eq!(translated(&mut table, "PREROUTING", packet), Ok(None));
        assert_eq!(table.1, MOST_CHAINS);
    }
}
