//! What the kernel has in our table, held against what is to be there. Pure.

use super::layout::{self, ACCEPT, CHAINS, COUNTER, Chain};
use crate::{netlink::wire, rules::Rule};

/// NFTA_TABLE_FLAGS; a table that sleeps has one.
const TABLE_FLAGS: u16 = 2;
/// NFTA_TABLE_USE: chains, sets and objects in it.
const TABLE_USE: u16 = 3;
/// NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE
const CHAIN_ATTRIBUTES: [u16; 4] = [3, 4, 5, 7];
/// NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY
const HOOK_ATTRIBUTES: [u16; 2] = [1, 2];
/// NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS
const RULE_ATTRIBUTES: [u16; 2] = [2, 4];
/// NFTA_EXPR_NAME, NFTA_EXPR_DATA
const EXPRESSION_ATTRIBUTES: [u16; 2] = [1, 2];

/// A rule as listed: its chain's name, and its expressions as bytes.
pub type Listed = (String, Vec<u8>);

/// Reads the attributes of a rule. Nothing if it has no chain.
#[must_use]
pub fn rule(attributes: &[u8]) -> Option<Listed> {
    let [chain, expressions] = RULE_ATTRIBUTES.map(|kind| wire::attribute(attributes, kind));
    Some((wire::name(chain?)?.to_owned(), expressions.unwrap_or_default().to_vec()))
}

/// What was found of the table and its chains.
#[derive(Debug, Default)]
pub struct Listing {
    table_is_right: bool,
    chains: Vec<&'static str>,
}

impl Listing {
    /// Takes in the attributes of the table.
    pub fn add_table(&mut self, attributes: &[u8]) {
        let number = |kind| wire::attribute(attributes, kind).and_then(wire::number);
        let chains = u32::try_from(CHAINS.len()).ok();
        self.table_is_right = number(TABLE_FLAGS).unwrap_or_default() == 0 && number(TABLE_USE) == chains;
    }

    /// Takes in the attributes of a chain, if it is one that is to be there.
    pub fn add_chain(&mut self, attributes: &[u8]) {
        self.chains.extend(CHAINS.iter().find(|chain| is_chain(chain, attributes)).map(|chain| chain.name));
    }

    /// Those of `wanted` that are not in force. In a chain that holds anything else they count as missing too: what
    /// stands before them would be looked at first.
    #[must_use]
    pub fn missing(&self, wanted: &[Rule], listed: Vec<Listed>) -> Vec<Rule> {
        let mut missing = Vec::new();
        for chain in CHAINS {
            let there: Vec<&[u8]> = listed
                .iter()
                .filter(|(name, _)| name == chain.name)
                .map(|(_, bytes)| bytes.as_slice())
                .collect();
            let to_be: Vec<&Rule> = chain.rules(wanted).collect();
            let is_right =
                |(rule, bytes): (&&Rule, &&[u8])| same_rule(&layout::expression_bytes(rule), bytes);
            let chain_is_right = self.table_is_right && self.chains.contains(&chain.name);
            if !chain_is_right || there.len() > to_be.len() {
                missing.extend(to_be.into_iter().copied());
                continue;
            }
            let in_order = there.len() == to_be.len() && to_be.iter().zip(&there).all(is_right);
            if !in_order {
                missing.extend(
                    to_be
                        .into_iter()
                        .filter(|rule| !there.iter().any(|bytes| is_right((rule, bytes))))
                        .copied(),
                );
            }
        }
        missing
    }
}

fn is_chain(chain: &Chain, attributes: &[u8]) -> bool {
    let [name, hook, policy, kind] = CHAIN_ATTRIBUTES.map(|kind| wire::attribute(attributes, kind));
    let [number, priority] =
        HOOK_ATTRIBUTES.map(|kind| hook.and_then(|hook| wire::attribute(hook, kind)).and_then(wire::number));
    name.and_then(wire::name) == Some(chain.name)
        && kind.and_then(wire::name) == Some("filter")
        && policy.and_then(wire::number) == Some(ACCEPT)
        && number == Some(chain.hook.into())
        && priority == Some(chain.priority.cast_unsigned())
}

/// Whether two lists of expressions say the same, whatever was counted.
fn same_rule(ours: &[u8], theirs: &[u8]) -> bool {
    let read = |list| {
        let expressions = wire::attributes(list).map(|(_, expression)| {
            let [name, data] = EXPRESSION_ATTRIBUTES.map(|kind| wire::attribute(expression, kind));
            (name.and_then(wire::name), data.unwrap_or_default())
        });
        expressions.collect::<Vec<_>>()
    };
    let (ours, theirs) = (read(ours), read(theirs));
    ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|((name, data), (other_name, other_data))| {
            name == other_name && (*name == Some(COUNTER) || wire::same(data, other_data))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<Rule> {
        let address = |text: &str| crate::rules::for_address(text.parse().unwrap(), 443.try_into().unwrap());
        [address("10.96.0.2"), address("fd00::2")].concat()
    }

    fn whole() -> (Listing, Vec<Listed>) {
        let listed = CHAINS.iter().flat_map(|chain| {
            let rules = rules();
            let rules: Vec<Rule> = chain.rules(&rules).copied().collect();
            rules.into_iter().map(|rule| (chain.name.to_owned(), layout::expression_bytes(&rule)))
        });
        let chains = CHAINS.iter().map(|chain| chain.name).collect();
        (Listing { table_is_right: true, chains }, listed.collect())
    }

    #[test]
    fn a_whole_table_misses_nothing() {
        let (listing, listed) = whole();
        assert_eq!(listing.missing(&rules(), listed), []);
    }

    #[test]
    fn what_differs_is_missing() {
        let (listing, listed) = whole();
        for at in 0..listed.len() {
            let mut one_less = listed.clone();
            one_less.remove(at);
            assert_eq!(listing.missing(&rules(), one_less).len(), 1);
            let mut other = listed.clone();
            let (chain, bytes) = &mut other[at];
            let others = crate::rules::for_address("10.96.0.3".parse().unwrap(), 443.try_into().unwrap());
            let chain = CHAINS.iter().find(|there| there.name == chain).unwrap();
            *bytes = layout::expression_bytes(chain.rules(&others).next().unwrap());
            assert_eq!(listing.missing(&rules(), other).len(), 1, "{at}");
        }
        let mut more = listed.clone();
        more.push(listed[0].clone());
        assert_eq!(listing.missing(&rules(), more).len(), 2, "all of that chain");
        assert_eq!(Listing { table_is_right: false, ..listing }.missing(&rules(), listed.clone()), {
            let mut all = rules();
            all.sort_by_key(|rule| CHAINS.iter().position(|chain| chain.place == rule.place));
            all
        });
        let (listing, _) = whole();
        let three = Listing { chains: listing.chains[..3].to_vec(), ..listing };
        assert_eq!(three.missing(&rules(), listed).len(), 2);
    }
}
