//! Rules kept through the iptables programs.
//!
//! A listed chain, an insert or a delete costs 1 to 4 ms whatever the size of the node's rule set; reading or
//! restoring whole tables costs 30 to 70 ms on a large node. So chains are listed, and rules inserted and
//! deleted one by one. Not `-C`: ip6tables-legacy 1.8.9 says of a rule that it is there when one with another
//! port is, and iptables-nft 1.8.11 overlooks interfaces.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use super::{
    Rule,
    detect::{self, Choice, Missing, Programs},
    exec::{LockWait, RunError},
};

/// Copies of one rule that cleanup takes away at most: somebody who adds them faster is not to keep it forever.
const MOST_COPIES: usize = 1000;

/// Why rules could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// There is no program for it.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A program failed.
    #[error(transparent)]
    Run(#[from] RunError),
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
}

/// The iptables backend. What the node uses is found out at the first use, and again until that works.
#[derive(Debug)]
pub struct Iptables {
    choice: Choice,
    programs: Option<Programs>,
    lock_wait: LockWait,
}

impl Iptables {
    /// A backend that starts nothing yet.
    #[must_use]
    pub fn new(choice: Choice) -> Self {
        Self { choice, programs: None, lock_wait: LockWait::Usual }
    }

    async fn programs(&mut self) -> Result<Programs, RulesError> {
        if let Some(programs) = self.programs {
            return Ok(programs);
        }
        let (programs, why) = detect::choose(self.choice).await?;
        tracing::info!(backend = %programs.variant, why, "rules backend chosen");
        Ok(*self.programs.insert(programs))
    }

    /// Which of `rules` are there, and how often. One process a chain, side by side: none of them changes
    /// anything.
    ///
    /// # Errors
    /// When a chain can't be listed; nothing is known then.
    pub async fn copies(&mut self, rules: &[Rule]) -> Result<BTreeMap<Rule, usize>, RulesError> {
        let programs = self.programs().await?;
        let mut lists = JoinSet::new();
        let chains: BTreeSet<_> =
            rules.iter().map(|rule| (rule.family(), rule.table(), rule.chain())).collect();
        for (family, table, chain) in chains {
            let program = programs.of(family)?;
            if detect::table_exists(programs.variant, family, table) {
                let wait = self.lock_wait;
                lists.spawn(async move {
                    let listed = program.run(wait, table.name(), &format!("-S {chain}")).await?;
                    Ok::<_, RunError>(((family, table, chain), listed.unwrap_or_default()))
                });
            }
        }
        // All of them end before anything else is started, also after an error.
        let listed = lists.join_all().await.into_iter().collect::<Result<BTreeMap<_, _>, _>>()?;
        let copies_of = |rule: &Rule| {
            let line = format!("-A {} {}", rule.chain(), rule.spec());
            let listed = listed.get(&(rule.family(), rule.table(), rule.chain()));
            listed.map_or(0, |listed| listed.lines().filter(|there| there.trim_end() == line).count())
        };
        Ok(rules.iter().map(|rule| (*rule, copies_of(rule))).filter(|(_, copies)| *copies > 0).collect())
    }

    /// Puts a rule at the head of its chain.
    ///
    /// # Errors
    /// When the program can't do it.
    pub async fn insert(&mut self, rule: Rule) -> Result<(), RulesError> {
        self.change("-I", rule).await?.then_some(()).ok_or(RulesError::NoTarget(rule))
    }

    /// Takes one copy of a rule away; whether there was one.
    ///
    /// # Errors
    /// When the program can't do it.
    pub async fn delete(&mut self, rule: Rule) -> Result<bool, RulesError> {
        let programs = self.programs().await?;
        let there = detect::table_exists(programs.variant, rule.family(), rule.table());
        Ok(there && self.change("-D", rule).await?)
    }

    async fn change(&mut self, action: &str, rule: Rule) -> Result<bool, RulesError> {
        let program = self.programs().await?.of(rule.family())?;
        let command = format!("{action} {} {}", rule.chain(), rule.spec());
        Ok(program.run(self.lock_wait, rule.table().name(), &command).await?.is_some())
    }

    /// Takes every copy of every rule away, and looks whether they are gone. Goes on after an error.
    ///
    /// # Errors
    /// All that went wrong, if any of the rules is left or could not be looked for.
    pub async fn delete_all(&mut self, rules: &[Rule]) -> Result<(), Vec<RulesError>> {
        let mut errors = Vec::new();
        // One of each without asking, which is all there is as a rule; then what the kernel still lists.
        let mut left: BTreeMap<Rule, usize> = rules.iter().map(|rule| (*rule, 1)).collect();
        for _ in 0..2 {
            for (rule, copies) in left {
                for _ in 0..copies.min(MOST_COPIES) {
                    match self.delete(rule).await {
                        Ok(true) => tracing::info!(%rule, "rule deleted"),
                        Ok(false) => break,
                        Err(error) => {
                            // It is held for longer: all the waits together must fit a grace period.
                            if matches!(error, RulesError::Run(RunError::Locked { .. })) {
                                self.lock_wait = LockWait::Short;
                            }
                            errors.push(error);
                            break;
                        }
                    }
                }
            }
            left = match self.copies(rules).await {
                Ok(left) if left.is_empty() => {
                    errors
                        .iter()
                        .for_each(|error| tracing::warn!(%error, "an error that left nothing behind"));
                    return Ok(());
                }
                Ok(left) => left,
                Err(error) => {
                    errors.push(error);
                    return Err(errors);
                }
            };
        }
        errors.extend(left.into_iter().map(|(rule, copies)| RulesError::Left { rule, copies }));
        Err(errors)
    }
}
