//! What goes wrong with rules.

use std::mem::discriminant;

use super::{Rule, detect::Missing, exec::RunError};
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
    /// Cleanup was not enough.
    #[error("still there after its cleanup, {copies} times: {rule}")]
    Left {
        /// The rule.
        rule: Rule,
        /// How often it is there.
        copies: usize,
    },
    /// Cleanup took too long.
    #[error("gave up after 15s, with {0} rules still to delete")]
    OutOfTime(usize),
}

impl RulesError {
    /// Errors of the same kind have the same cause as a rule, and the same remedy.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Run(one), Self::Run(other)) => discriminant(one) == discriminant(other),
            _ => discriminant(self) == discriminant(other),
        }
    }
}
