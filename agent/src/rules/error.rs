//! What goes wrong with rules.

use std::mem::discriminant;

use super::{Family, Rule, Table, detect::Missing, exec::RunError};
use crate::netlink::nft::NftError;

/// Why rules could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// There is no program for it.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A program failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// nf_tables failed.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The kernel lacks the chain or, more likely, the target.
    #[error(
        "cannot insert {0}: the kernel has no such chain or target; is its module there (xt_CT for NOTRACK)?"
    )]
    NoTarget(Rule),
    /// What was written is not there.
    #[error("inserted, but not there afterwards, so something else on this node removes it: {0}")]
    NotSeen(Rule),
    /// The table is there and not in force.
    #[error(
        "somebody put the table {family} {table} to sleep (flags dormant), so no rule in it is in force; wake it with nft 'add table {family} {table} {{ flags 0; }}'"
    )]
    Dormant {
        /// Of which family.
        family: Family,
        /// Which.
        table: Table,
    },
    /// Cleanup was not enough.
    #[error("still there after its cleanup, {copies} times: {rule}")]
    Left {
        /// The rule.
        rule: Rule,
        /// How often it is there.
        copies: usize,
    },
    /// Cleanup took too long.
    #[error("gave up after 10s, with {0} rules still to delete")]
    OutOfTime(usize),
}

impl RulesError {
    /// Whether the next program would fail in the same way, after as long a wait.
    #[must_use]
    pub fn holds_up(&self) -> bool {
        matches!(self, Self::Run(RunError::Locked { .. } | RunError::TimedOut { .. }))
    }

    /// Errors of the same kind have the same cause as a rule, and the same remedy.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Run(one), Self::Run(other)) => discriminant(one) == discriminant(other),
            _ => discriminant(self) == discriminant(other),
        }
    }
}
