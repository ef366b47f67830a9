//! What went wrong in a cycle or a cleanup.

use std::fmt;

use crate::{address::AddressError, rules::RulesError};

/// Something that went wrong with one part of the work; the other part went on.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// With the rules.
    #[error("rules: {0}")]
    Rules(#[from] RulesError),
    /// With the addresses or their device.
    #[error("address: {0}")]
    Address(#[from] AddressError),
}

/// All that went wrong in one cycle or cleanup, as one line.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, problem: impl Into<Problem>) {
        self.0.push(problem.into());
    }

    pub(super) fn add_all<P: Into<Problem>>(&mut self, problems: impl IntoIterator<Item = P>) {
        self.0.extend(problems.into_iter().map(Into::into));
    }

    /// All of both.
    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// Of two outcomes, all that went wrong in either.
    ///
    /// # Errors
    /// If anything did.
    pub fn both(one: Result<(), Self>, other: Result<(), Self>) -> Result<(), Self> {
        let mut problems = one.err().unwrap_or_default();
        problems.append(other.err().unwrap_or_default());
        problems.into_result()
    }

    /// Nothing, or these.
    ///
    /// # Errors
    /// If anything went wrong.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Of several problems of one kind only the first is written out.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        let mut separator = "";
        for (n, problem) in problems.iter().enumerate() {
            if problems.iter().take(n).any(|before| before.is_like(problem)) {
                continue;
            }
            write!(f, "{separator}{problem}")?;
            let more = problems.iter().skip(n + 1).filter(|after| after.is_like(problem)).count();
            if more > 0 {
                write!(f, " (and {more} more like it)")?;
            }
            separator = " | ";
        }
        Ok(())
    }
}

impl Problem {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rules(one), Self::Rules(other)) => one.is_like(other),
            _ => false,
        }
    }
}

impl std::error::Error for Problems {}
