//! Rules kept through the iptables programs, one process a question or change.
//!
//! A check costs 1 to 2 ms whatever the size of the node's rule set; reading or restoring whole tables costs
//! 30 to 70 ms on a large node. So rules are checked, inserted and deleted one by one.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::{
    Rule,
    detect::{self, Choice, Missing, Programs},
    exec::{Answer, RunError},
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
    /// What was written is not there.
    #[error("inserted, but not there afterwards, so something else on this node removes it: {0}")]
    NotSeen(Rule),
    /// Cleanup gave up.
    #[error("more than {MOST_COPIES} copies, something else on this node adds them: {0}")]
    KeepsComing(Rule),
}

/// The iptables backend. What the node uses is found out at the first use, and again until that works.
#[derive(Debug)]
pub struct Iptables {
    choice: Choice,
    programs: Option<Programs>,
}

impl Iptables {
    /// A backend that starts nothing yet.
    #[must_use]
    pub fn new(choice: Choice) -> Self {
        Self { choice, programs: None }
    }

    async fn programs(&mut self) -> Result<Programs, RulesError> {
        if let Some(programs) = self.programs {
            return Ok(programs);
        }
        let (programs, why) = detect::choose(self.choice).await?;
        tracing::info!(backend = %programs.variant, why, "rules backend chosen");
        Ok(*self.programs.insert(programs))
    }

    /// Which of `rules` are there.
    ///
    /// # Errors
    /// When a check gives no answer; nothing is known then.
    pub async fn present(&mut self, rules: &[Rule]) -> Result<BTreeSet<Rule>, RulesError> {
        let programs = self.programs().await?;
        let mut checks = JoinSet::new();
        for rule in rules.iter().copied() {
            let program = programs.of(rule.family())?;
            checks.spawn(async move {
                let command = format!("-C {} {}", rule.chain(), rule.spec());
                Ok((rule, program.run(rule.table().name(), &command).await?))
            });
        }
        let mut present = BTreeSet::new();
        while let Some(check) = checks.join_next().await {
            // A check can't panic or be cancelled; if one did all the same, its rule counts as missing.
            let Ok(check) = check else { continue };
            match check {
                Ok((rule, Answer::Done)) => drop(present.insert(rule)),
                Ok((_, Answer::NoSuchRule)) => {}
                // The others still hold or want the lock: let them end before anything else is started.
                Err(error) => {
                    while checks.join_next().await.is_some() {}
                    return Err(error);
                }
            }
        }
        Ok(present)
    }

    /// Puts a rule at the head of its chain.
    ///
    /// # Errors
    /// When the program can't do it.
    pub async fn insert(&mut self, rule: Rule) -> Result<(), RulesError> {
        let program = self.programs().await?.of(rule.family())?;
        let command = format!("-I {} {}", rule.chain(), rule.spec());
        match program.run(rule.table().name(), &command).await? {
            Answer::Done => Ok(()),
            // Only a kernel without the chain, or without the target, gets here.
            Answer::NoSuchRule => Err(RulesError::Run(RunError::Failed {
                command: format!("{program} -t {} {command}", rule.table().name()),
                status: "exit status: 1".to_owned(),
                stderr: "No chain/target/match by that name; is the kernel module of the target (xt_CT) there?".to_owned(),
            })),
        }
    }

    /// Takes every copy of a rule away, and returns how many there were. The last call finds none: that is
    /// the proof that it is gone.
    ///
    /// # Errors
    /// When the program can't do it.
    pub async fn delete_all(&mut self, rule: Rule) -> Result<usize, RulesError> {
        let programs = self.programs().await?;
        if !detect::table_exists(programs.variant, rule.family(), rule.table()) {
            return Ok(0);
        }
        let program = programs.of(rule.family())?;
        let command = format!("-D {} {}", rule.chain(), rule.spec());
        for copies in 0..=MOST_COPIES {
            if program.run(rule.table().name(), &command).await? == Answer::NoSuchRule {
                return Ok(copies);
            }
        }
        Err(RulesError::KeepsComing(rule))
    }
}
