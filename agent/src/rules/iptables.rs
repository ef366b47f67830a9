//! Rules kept through the iptables programs.
//!
//! A listed chain, an insert or a delete costs 1 to 4 ms whatever the size of the node's rule set; reading or
//! restoring whole tables costs 30 to 70 ms on a large node. So chains are listed, and rules inserted and
//! deleted one by one. Not `-C`, as long as a chain can be listed: ip6tables-legacy 1.8.9 says of a rule that it is
//! there when one with another port is, and iptables-nft 1.8.11 overlooks interfaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::discriminant,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Family, Rule,
    detect::{self, Choice, Missing, Programs},
    exec::{Haste, Program, RunError},
};

/// Copies of one rule that cleanup takes away at most: somebody who adds them faster is not to keep it forever.
const MOST_COPIES: usize = 1000;
/// How long a cleanup of rules may take, one program that runs beyond it aside.
const CLEANUP_TIME: Duration = Duration::from_secs(15);

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

/// What is known of rules.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often each is there, 0 included. Rules that could not be looked for are not in it.
    pub copies: BTreeMap<Rule, usize>,
    /// Why some could not be looked for.
    pub errors: Vec<RulesError>,
}

/// The iptables backend. What the node uses is found out at the first use, and again until that works.
#[derive(Debug)]
pub struct Iptables {
    choice: Choice,
    families: BTreeSet<Family>,
    programs: Option<Programs>,
    haste: Haste,
}

impl Iptables {
    /// A backend for `rules` that starts nothing yet.
    #[must_use]
    pub fn new(choice: Choice, rules: &[Rule]) -> Self {
        let families = rules.iter().map(Rule::family).collect();
        Self { choice, families, programs: None, haste: Haste::None }
    }

    /// The programs to use. Kept only once there is one for each family that the rules need.
    async fn programs(&mut self) -> Result<Programs, RulesError> {
        if let Some(programs) = self.programs {
            return Ok(programs);
        }
        let (programs, why) = detect::choose(self.choice).await?;
        if self.families.iter().all(|family| programs.of(*family).is_ok()) {
            tracing::info!(backend = %programs.variant, why, "rules backend chosen");
            self.programs = Some(programs);
        }
        Ok(programs)
    }

    /// Looks how often each of `rules` is there. What can't be looked for keeps nothing else from it.
    pub async fn seen(&mut self, rules: &[Rule]) -> Seen {
        match self.programs().await {
            Ok(programs) => self.seen_by(programs, rules).await,
            Err(error) => Seen { errors: vec![error], ..Seen::default() },
        }
    }

    /// One process a chain, side by side: none of them changes anything.
    async fn seen_by(&self, programs: Programs, rules: &[Rule]) -> Seen {
        let (mut seen, mut lists) = (Seen::default(), JoinSet::new());
        let mut chains: BTreeMap<_, Vec<Rule>> = BTreeMap::new();
        for rule in rules {
            chains.entry((rule.family(), rule.table(), rule.chain())).or_default().push(*rule);
        }
        for ((family, table, chain), rules) in chains {
            let program = match programs.of(family) {
                Ok(program) => program,
                Err(missing) => {
                    seen.errors.push(missing.into());
                    continue;
                }
            };
            if !detect::table_exists(programs.variant, family, table) {
                seen.copies.extend(rules.into_iter().map(|rule| (rule, 0)));
                continue;
            }
            let haste = self.haste;
            lists.spawn(async move {
                match program.run(haste, table.name(), &format!("-S {chain}")).await {
                    Ok(listed) => {
                        let listed = listed.unwrap_or_default();
                        rules.into_iter().map(|rule| Ok((rule, copies_in(&listed, rule)))).collect()
                    }
                    // iptables-nft lists no chain that holds something of nft's own, but still answers questions.
                    Err(RunError::Failed { .. }) => asked_one_by_one(program, haste, rules).await,
                    Err(error) => vec![Err(error)],
                }
            });
        }
        // All of them end before anything else is started.
        for answer in lists.join_all().await.into_iter().flatten() {
            match answer {
                Ok((rule, copies)) => drop(seen.copies.insert(rule, copies)),
                Err(error) => seen.errors.push(error.into()),
            }
        }
        seen
    }

    /// Puts a rule at the head of its chain.
    ///
    /// # Errors
    /// When the program can't do it.
    pub async fn insert(&mut self, rule: Rule) -> Result<(), RulesError> {
        let programs = self.programs().await?;
        self.change(programs, "-I", rule).await?.then_some(()).ok_or(RulesError::NoTarget(rule))
    }

    /// Takes one copy of a rule away; whether there was one.
    ///
    /// # Errors
    /// When the program can't do it.
    pub async fn delete(&mut self, rule: Rule) -> Result<bool, RulesError> {
        let programs = self.programs().await?;
        self.delete_by(programs, rule).await
    }

    async fn delete_by(&self, programs: Programs, rule: Rule) -> Result<bool, RulesError> {
        let there = detect::table_exists(programs.variant, rule.family(), rule.table());
        Ok(there && self.change(programs, "-D", rule).await?)
    }

    async fn change(&self, programs: Programs, action: &str, rule: Rule) -> Result<bool, RulesError> {
        let program = programs.of(rule.family())?;
        let command = format!("{action} {} {}", rule.chain(), rule.spec());
        Ok(program.run(self.haste, rule.table().name(), &command).await?.is_some())
    }

    /// Takes every copy of every rule away, and looks whether they are gone. Goes on after an error, but not for
    /// longer than 15 s. With a backend chosen by itself, copies in the other one go too.
    ///
    /// # Errors
    /// All that went wrong, if any of the rules is left or could not be looked for.
    pub async fn delete_all(&mut self, rules: &[Rule]) -> Result<(), Vec<RulesError>> {
        let deadline = Instant::now() + CLEANUP_TIME;
        let programs = self.programs().await.map_err(|error| vec![error])?;
        // One of each without asking, which is all there is as a rule; then what the kernel still lists.
        let once = rules.iter().map(|rule| (*rule, 1)).collect();
        let mut errors = self.delete_copies(programs, once, deadline).await;
        errors.extend(self.delete_seen(programs, rules, deadline).await);
        if let Some(other) = programs.other().filter(|_| self.choice == Choice::Auto) {
            // One process where it is not in use: a copy of all rules includes the first.
            let first = rules.get(..1).unwrap_or_default();
            if self.seen_by(other, first).await.copies.values().any(|copies| *copies > 0) {
                tracing::info!(backend = %other.variant, "rules of ours are here too");
                errors.extend(self.delete_seen(other, rules, deadline).await);
            }
        }
        // What went wrong counts only if something is left, or may be. What is left in the other one is known already.
        if errors.iter().any(|error| matches!(error, RulesError::Left { .. })) {
            return Err(errors);
        }
        let seen = if errors.is_empty() { Seen::default() } else { self.seen_by(programs, rules).await };
        let gone = seen.errors.is_empty() && seen.copies.values().all(|copies| *copies == 0);
        if gone { Ok(()) } else { Err(errors) }
    }

    async fn delete_seen(
        &mut self,
        programs: Programs,
        rules: &[Rule],
        deadline: Instant,
    ) -> Vec<RulesError> {
        let left = |seen: Seen| {
            seen.copies.into_iter().filter(|(_, copies)| *copies > 0).collect::<BTreeMap<_, _>>()
        };
        let mut seen = self.seen_by(programs, rules).await;
        let mut errors = std::mem::take(&mut seen.errors);
        let copies = left(seen);
        if !copies.is_empty() {
            errors.extend(self.delete_copies(programs, copies, deadline).await);
            let still = left(self.seen_by(programs, rules).await);
            errors.extend(still.into_iter().map(|(rule, copies)| RulesError::Left { rule, copies }));
        }
        errors
    }

    async fn delete_copies(
        &mut self,
        programs: Programs,
        rules: BTreeMap<Rule, usize>,
        deadline: Instant,
    ) -> Vec<RulesError> {
        let (mut errors, mut left) = (Vec::new(), rules.len());
        for (rule, copies) in rules {
            for _ in 0..copies.min(MOST_COPIES) {
                if Instant::now() > deadline {
                    errors.push(RulesError::OutOfTime(left));
                    return errors;
                }
                match self.delete_by(programs, rule).await {
                    Ok(true) => tracing::info!(%rule, "rule deleted"),
                    Ok(false) => break,
                    Err(error) => {
                        // What held this one up will hold the others up.
                        if matches!(
                            error,
                            RulesError::Run(RunError::Locked { .. } | RunError::TimedOut { .. })
                        ) {
                            self.haste = Haste::Great;
                        }
                        tracing::warn!(%rule, %error, "cleanup goes on after an error");
                        errors.push(error);
                        break;
                    }
                }
            }
            left -= 1;
        }
        errors
    }
}

fn copies_in(listed: &str, rule: Rule) -> usize {
    let line = format!("-A {} {}", rule.chain(), rule.spec());
    listed.lines().filter(|there| there.trim_end() == line).count()
}

/// Without a listing all that is known of copies is whether there is one.
async fn asked_one_by_one(
    program: Program,
    haste: Haste,
    rules: Vec<Rule>,
) -> Vec<Result<(Rule, usize), RunError>> {
    let mut answers = Vec::new();
    for rule in rules {
        let command = format!("-C {} {}", rule.chain(), rule.spec());
        let answer = program.run(haste, rule.table().name(), &command).await;
        answers.push(answer.map(|there| (rule, usize::from(there.is_some()))));
    }
    answers
}
