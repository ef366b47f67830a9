//! Rules kept in a table of our own, over netlink: no program is needed, and a change is one transaction.
//!
//! An accept in this table does not overrule a drop in another, at any priority: that is how nf_tables works.

pub mod layout;
pub mod listing;

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
};

use self::{
    layout::{CHAINS, FAMILY, FAMILY_NUMBER},
    listing::Listing,
};
use super::Rule;
use crate::netlink::{
    events::NftChange,
    nft::{Nft, NftError},
};

/// The nftables backend.
#[derive(Debug, Clone)]
pub struct Nftables {
    table: String,
    rules: Vec<Rule>,
    /// There was no table at the last look.
    absent: bool,
}

impl Nftables {
    /// A backend for `rules` that touches nothing yet.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        Self { table: layout::table_name(rules), rules: rules.to_vec(), absent: false }
    }

    /// The table's name; its family is inet.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Whether an event is about this table.
    #[must_use]
    pub fn concerns(&self, change: &NftChange<'_>) -> bool {
        change.family == FAMILY_NUMBER && change.table == self.table
    }

    /// The rules that are not there as they should be: none where the table is as this backend makes it, to the
    /// last expression.
    ///
    /// # Errors
    /// When the kernel refuses, or others change rules all the time.
    pub fn missing(&mut self, nft: &mut Nft) -> Result<Vec<Rule>, NftError> {
        let mut listing = Listing::default();
        let there = nft.get("look up the table", FAMILY, self.get_table(), |_, attributes| {
            listing.add_table(attributes);
        })?;
        self.absent = !there;
        if !there {
            return Ok(self.rules.clone());
        }
        for chain in CHAINS {
            let attributes =
                vec![ChainAttribute::Table(self.table.clone()), ChainAttribute::Name(chain.name.to_owned())];
            let request = NfTablesMessage::GetChain(ChainMessage { attributes });
            nft.get("look up a chain", FAMILY, request, |_, attributes| listing.add_chain(attributes))?;
        }
        let attributes = vec![RuleAttribute::Table(self.table.clone())];
        let request = NfTablesMessage::GetRule(RuleMessage { attributes });
        let rules = nft.dump("list rules", FAMILY, &request, |rules: &mut Vec<_>, attributes| {
            rules.extend(listing::rule(attributes));
        })?;
        Ok(listing.missing(&self.rules, rules))
    }

    /// Makes the table anew, whole, in one transaction: what was there is in force until what is to be there is.
    ///
    /// # Errors
    /// When the kernel refuses; then everything is as before.
    pub fn replace(&mut self, nft: &mut Nft) -> Result<(), NftError> {
        let changes = match self.absent {
            // Who deletes something waits for the end of that when the socket is closed, some 10 ms: not worth it in
            // an init container. Another instance that creates it meanwhile only leads to a chain with too much in it.
            true => layout::create(&self.table, &self.rules),
            false => layout::replace(&self.table, &self.rules),
        };
        self.absent = false;
        nft.transact("set up the rules", changes)
    }

    /// Removes the table. Whether there was one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&self, nft: &mut Nft) -> Result<bool, NftError> {
        match nft.transact("remove the rules", vec![(FAMILY, layout::delete(&self.table))]) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the table is there, in whatever state.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn exists(&self, nft: &mut Nft) -> Result<bool, NftError> {
        nft.get("look up the table", FAMILY, self.get_table(), |_, _| {})
    }

    fn get_table(&self) -> NfTablesMessage {
        NfTablesMessage::GetTable(TableMessage { attributes: vec![TableAttribute::Name(self.table.clone())] })
    }
}
