//! Rules kept through the iptables programs.
//!
//! A listed chain, an insert or a delete costs 1 to 4 ms whatever the size of the node's rule set; reading or
//! restoring whole tables costs 30 to 70 ms on a large node. So chains are listed, and rules inserted and
//! deleted one by one. Not `-C`, as long as a chain can be listed: ip6tables-legacy 1.8.9 says of a rule that it is
//! there when one with another port is, and iptables-nft 1.8.11 overlooks interfaces.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Rule, RulesError,
    detect::{self, Programs},
    exec::{Haste, Program, RunError},
};
use crate::netlink::events::{self, NftChange};

/// Copies of one rule that cleanup takes away at most: somebody who adds them faster is not to keep it forever.
const MOST_COPIES: usize = 1000;
/// How long a cleanup of rules may take, one program that runs beyond it aside.
const CLEANUP_TIME: Duration = Duration::from_secs(10);

/// What is known of rules.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often each is there, 0 included. Rules that could not be looked for are not in it.
    pub copies: BTreeMap<Rule, usize>,
    /// Why some could not be looked for.
    pub errors: Vec<RulesError>,
}

/// The iptables backend.
#[derive(Debug)]
pub struct Iptables {
    programs: Programs,
    haste: Haste,
}

impl Iptables {
    /// A backend that starts nothing yet.
    #[must_use]
    pub fn new(programs: Programs) -> Self {
        Self { programs, haste: Haste::None }
    }

    /// The programs in use.
    #[must_use]
    pub fn programs(&self) -> Programs {
        self.programs
    }

    /// Whether an event can mean that one of `rules` is gone. What is added takes nothing away, but for a table that
    /// is put to sleep.
    #[must_use]
    pub fn concerns(rules: &[Rule], change: &NftChange<'_>) -> bool {
        let whole_table = [events::NFT_MSG_NEWTABLE, events::NFT_MSG_DELTABLE].contains(&change.kind);
        let in_chain = [events::NFT_MSG_DELCHAIN, events::NFT_MSG_DELRULE].contains(&change.kind);
        rules.iter().any(|rule| {
            rule.family().number() == change.family
                && rule.table().name() == change.table
                && (whole_table || (in_chain && rule.chain() == change.chain))
        })
    }

    /// Looks how often each of `rules` is there. What can't be looked for keeps nothing else from it.
    pub async fn seen(&self, rules: &[Rule]) -> Seen {
        self.seen_by(self.programs, rules).await
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
    pub async fn insert(&self, rule: Rule) -> Result<(), RulesError> {
        self.change(self.programs, "-I", rule).await?.then_some(()).ok_or(RulesError::NoTarget(rule))
    }

    /// Takes one copy of a rule away; whether there was one.
    ///
    /// # Errors
    /// When the program can't do it.
    pub async fn delete(&self, rule: Rule) -> Result<bool, RulesError> {
        self.delete_by(self.programs, rule).await
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
    /// longer than 10 s. `everywhere`: copies in the other interface to the kernel go too.
    ///
    /// # Errors
    /// All that went wrong, if any of the rules is left or could not be looked for.
    pub async fn delete_all(&mut self, rules: &[Rule], everywhere: bool) -> Result<(), Vec<RulesError>> {
        let (deadline, programs) = (Instant::now() + CLEANUP_TIME, self.programs);
        // One of each without asking, which is all there is as a rule; then what the kernel still lists.
        let once = rules.iter().map(|rule| (*rule, 1)).collect();
        let mut errors = self.delete_copies(programs, once, deadline).await;
        errors.extend(self.delete_seen(programs, rules, deadline).await);
        if let Some(other) = programs.other().filter(|_| everywhere) {
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
                        if error.holds_up() {
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

/// How often a rule is in what `iptables -S CHAIN` printed: a copy reads exactly as we write it. Pure, and for any
/// text at all.
#[must_use]
pub fn copies_in(listed: &str, rule: Rule) -> usize {
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
