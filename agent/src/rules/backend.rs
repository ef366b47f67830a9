//! The backend in use, whichever it is, and when there is nothing to look at.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    Family, Rule, RulesError, Table,
    detect::{self, Choice, Chosen},
    iptables::Iptables,
    nftables::Nftables,
    tracker::Tracker,
};
use crate::{
    handover::claim::Kind,
    netlink::{
        events::Event,
        nft::{Nft, NftError},
    },
    plan,
};

/// How rules are kept.
#[derive(Debug)]
enum Backend {
    Iptables(Iptables),
    Nftables(Nftables),
}

/// What a look at the rules found.
#[derive(Debug, Default)]
pub struct Looked {
    /// Not there.
    pub missing: Vec<Rule>,
    /// Why some could not be looked for; those count as neither missing nor there.
    pub errors: Vec<RulesError>,
}

/// Keeps the rules. What the node uses is found out at the first use, and again until that works.
#[derive(Debug)]
pub struct Rules {
    wanted: Vec<Rule>,
    choice: Choice,
    backend: Option<Backend>,
    /// The backend has all the programs that it needs.
    complete: bool,
    nft: Option<Nft>,
    tracker: Tracker,
}

impl Rules {
    /// For these rules. Touches nothing yet.
    #[must_use]
    pub fn new(wanted: &[Rule], choice: Choice) -> Self {
        let tracker = Tracker::default();
        Self { wanted: wanted.to_vec(), choice, backend: None, complete: false, nft: None, tracker }
    }

    /// Finds out what to keep rules with, once, and says so in the log. Whether that was just now.
    ///
    /// # Errors
    /// When the node can't be asked.
    pub async fn choose(&mut self) -> Result<bool, RulesError> {
        if self.complete {
            return Ok(false);
        }
        let (chosen, why) = detect::choose(self.choice).await?;
        let families: BTreeSet<Family> = self.wanted.iter().map(Rule::family).collect();
        let (name, backend) = match chosen {
            Chosen::Nftables => {
                self.complete = true;
                let nftables = Nftables::new(&self.wanted);
                (format!("nftables, table inet {}", nftables.table()), Backend::Nftables(nftables))
            }
            Chosen::Programs(programs) => {
                self.complete = families.iter().all(|family| programs.of(*family).is_ok());
                (programs.variant.to_string(), Backend::Iptables(Iptables::new(programs)))
            }
        };
        if self.complete {
            tracing::info!(backend = name, why, "rules backend chosen");
        }
        self.backend = Some(backend);
        Ok(self.complete)
    }

    /// Whether the rules live in nf_tables, which numbers its states and tells of changes.
    #[must_use]
    pub fn in_nf_tables(&self) -> bool {
        match &self.backend {
            None => false,
            Some(Backend::Iptables(iptables)) => iptables.programs().in_nf_tables,
            Some(Backend::Nftables(_)) => true,
        }
    }

    /// The kind of the backend, once it is known.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Some(match self.backend.as_ref()? {
            Backend::Iptables(_) => Kind::Iptables,
            Backend::Nftables(_) => Kind::Nftables,
        })
    }

    /// The backend's name for a person.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.backend {
            None => "not known yet".to_owned(),
            Some(Backend::Iptables(iptables)) => iptables.programs().variant.to_string(),
            Some(Backend::Nftables(nftables)) => format!("nftables, table inet {}", nftables.table()),
        }
    }

    /// Takes note of an event. Whether there is something to look at now.
    pub fn note(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Nft(change) => {
                let concerned = match &self.backend {
                    None => true,
                    Some(Backend::Iptables(_)) => Iptables::concerns(&self.wanted, change),
                    Some(Backend::Nftables(nftables)) => nftables.concerns(change),
                };
                if concerned {
                    self.tracker.touch();
                }
                false
            }
            Event::Generation(generation) => self.tracker.advance(*generation),
            Event::Lost => {
                self.tracker.forget();
                true
            }
            Event::Link { .. } | Event::Address { .. } => false,
        }
    }

    /// Looks for what is missing, with the backend that was chosen. Where nothing can have changed since the last look,
    /// that is one message to the kernel and nothing else.
    pub async fn look(&mut self) -> Looked {
        // An event told so already, and every look at nf_tables would be one too many: whoever took the table's rules
        // away holds up all transactions for some 10 ms as soon as it closes its socket.
        if self.tracker.is_broken() && self.kind() == Some(Kind::Nftables) {
            return Looked { missing: self.wanted.clone(), errors: Vec::new() };
        }
        let before = self.generation();
        if before.is_some_and(|generation| self.tracker.holds(generation)) {
            return Looked::default();
        }
        self.tracker.forget();
        let looked = self.look_again().await;
        // A change meanwhile may have been one of those just looked at.
        if let Some(generation) = before
            && looked.missing.is_empty()
            && looked.errors.is_empty()
            && self.generation() == before
        {
            self.tracker.verified(generation);
        }
        looked
    }

    async fn look_again(&mut self) -> Looked {
        match &self.backend {
            Some(Backend::Iptables(iptables)) => {
                let in_nf_tables = iptables.programs().in_nf_tables;
                let seen = iptables.seen(&self.wanted).await;
                let missing = plan::rules_to_insert(&self.wanted, &seen.copies);
                let mut looked = Looked { missing, errors: seen.errors };
                if in_nf_tables {
                    self.look_for_sleepers(&mut looked);
                }
                looked
            }
            Some(Backend::Nftables(_)) => match self.on_table(Nftables::missing) {
                Ok(missing) => Looked { missing, errors: Vec::new() },
                Err(error) => Looked { missing: Vec::new(), errors: vec![error] },
            },
            None => Looked::default(),
        }
    }

    /// A table that was put to sleep lists its rules as before, and none of them is in force.
    fn look_for_sleepers(&mut self, looked: &mut Looked) {
        let tables: BTreeSet<(Family, Table)> =
            self.wanted.iter().map(|rule| (rule.family(), rule.table())).collect();
        for (family, table) in tables {
            match on_nft(&mut self.nft, |nft| nft.is_dormant(family.number(), table.name())) {
                Ok(true) => looked.errors.push(RulesError::Dormant { family, table }),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "no look for dormant tables"),
            }
        }
    }

    /// Puts what is missing in place, and returns what was put there and what went wrong. Nothing is believed to be there
    /// until it was looked for again. Ends early once `stop` is set, or a lock could not be had: the next rule would
    /// wait for it as well.
    pub async fn insert(&mut self, missing: &[Rule], stop: &AtomicBool) -> (Vec<Rule>, Vec<RulesError>) {
        let (mut made, mut errors) = (Vec::new(), Vec::new());
        match &self.backend {
            None => {}
            Some(Backend::Nftables(_)) => match self.on_table(Nftables::replace) {
                Ok(()) => {
                    self.tracker.forget();
                    made.extend(missing);
                }
                Err(error) => errors.push(error),
            },
            Some(Backend::Iptables(iptables)) => {
                for rule in missing {
                    if stop.load(Ordering::Relaxed) || errors.iter().any(RulesError::holds_up) {
                        break;
                    }
                    match iptables.insert(*rule).await {
                        Ok(()) => made.push(*rule),
                        Err(error) => errors.push(error),
                    }
                }
            }
        }
        (made, errors)
    }

    /// Gives up on a rule that was inserted and is not seen: if it is there after all, in a form that is not
    /// recognised, it must not become more every time.
    pub async fn take_back(&mut self, rule: Rule) -> Vec<RulesError> {
        let mut errors = vec![RulesError::NotSeen(rule)];
        if let Some(Backend::Iptables(iptables)) = &self.backend
            && let Err(error) = iptables.delete(rule).await
        {
            errors.push(error);
        }
        errors
    }

    /// Takes `rules` away with iptables, and with `table` the table of the nftables backend. With a backend chosen by
    /// itself, what another choice left goes too.
    ///
    /// # Errors
    /// All that went wrong, if any of them is left or could not be looked for.
    pub async fn delete_all(&mut self, rules: &[Rule], table: bool) -> Result<(), Vec<RulesError>> {
        self.choose().await.map_err(|error| vec![error])?;
        self.tracker.forget();
        let everywhere = self.choice == Choice::Auto;
        let (mut errors, mut table_goes) = (Vec::new(), table);
        if let Some(Backend::Iptables(iptables)) = &mut self.backend {
            if !rules.is_empty() {
                errors.extend(iptables.delete_all(rules, everywhere).await.err().into_iter().flatten());
            }
            table_goes &= everywhere;
        }
        if table_goes {
            self.delete_table(&mut errors);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn delete_table(&mut self, errors: &mut Vec<RulesError>) {
        let nftables = Nftables::new(&self.wanted);
        match on_nft(
            &mut self.nft,
            |nft| if nftables.exists(nft)? { nftables.delete(nft) } else { Ok(false) },
        ) {
            Ok(true) => tracing::info!(table = nftables.table(), "table deleted"),
            Ok(false) => {}
            // Without nf_tables in the kernel there is no table.
            Err(NftError::Open(_)) if matches!(self.backend, Some(Backend::Iptables(_))) => {}
            Err(error) => errors.push(error.into()),
        }
    }

    /// The number of nf_tables' present state, where the rules live there and it can be asked.
    fn generation(&mut self) -> Option<u32> {
        if !self.in_nf_tables() {
            return None;
        }
        on_nft(&mut self.nft, Nft::generation)
            .inspect_err(|error| tracing::debug!(%error, "no generation"))
            .ok()
    }

    /// Works on our own table, where that is the backend.
    fn on_table<T: Default>(
        &mut self,
        work: impl FnOnce(&mut Nftables, &mut Nft) -> Result<T, NftError>,
    ) -> Result<T, RulesError> {
        match &mut self.backend {
            Some(Backend::Nftables(nftables)) => Ok(on_nft(&mut self.nft, |nft| work(nftables, nft))?),
            _ => Ok(T::default()),
        }
    }
}

/// Works over the open connection, or a new one. One that failed is not used again.
fn on_nft<T>(
    open: &mut Option<Nft>,
    work: impl FnOnce(&mut Nft) -> Result<T, NftError>,
) -> Result<T, NftError> {
    let mut nft = match open.take() {
        Some(nft) => nft,
        None => Nft::open()?,
    };
    let outcome = work(&mut nft);
    if outcome.is_ok() {
        *open = Some(nft);
    }
    outcome
}
