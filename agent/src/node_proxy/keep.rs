//! One round: files as they should be, systemd that has read them, units that run with them.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant, SystemTime},
};

use common::{contention::Fights, duration::GoDuration, egress::Secret};

use super::{
    error::FileError,
    outcome::{Outcome, Reach},
    plan,
    source::Wanted,
    systemd::{Systemd, SystemdError, Unit},
    tree::Tree,
};

/// What is known of a unit from earlier rounds.
#[derive(Debug, Default)]
struct Memory {
    /// What was last seen in place or written.
    placed: Option<Secret>,
    /// Seen in place, and read by systemd.
    verified: Option<Verified>,
    /// Put back as it was then; whether the unit was started in between has yet to be seen.
    healed: Option<Verified>,
    /// Written, and systemd was not told yet.
    unread: bool,
    /// That is something new to the unit.
    changed: bool,
    /// systemd was told for the unit's sake, and that changed nothing. It is not told again and again.
    told_in_vain: bool,
    /// When systemd had read what was new.
    read: Option<SystemTime>,
    /// The last restart, tried or done.
    restarted: Option<Instant>,
    /// The file's time for which a restart was done.
    answered: Option<SystemTime>,
}

#[derive(Debug, Clone)]
struct Verified {
    text: Secret,
    modified: SystemTime,
    at: SystemTime,
}

/// A unit's file that is in place.
struct InPlace<'a> {
    unit: &'a str,
    modified: SystemTime,
    /// Its path as systemd knows it.
    for_systemd: String,
    /// When it was looked at, and not yet written.
    seen: Option<SystemTime>,
}

impl Memory {
    /// The file has another time now.
    fn moved_to(&mut self, modified: SystemTime) {
        if let Some(verified) = &mut self.verified {
            verified.modified = modified;
        }
    }
}

/// Keeps drop-ins in place, and remembers what it did.
#[derive(Debug)]
pub struct Keeper {
    restart: bool,
    jitter: Duration,
    memory: BTreeMap<String, Memory>,
    fights: Fights<String>,
    /// When the restarts that are due begin.
    restart_at: Option<Instant>,
}

impl Keeper {
    /// Remembers nothing yet. `interval` is the longest time for which it does not put back what is fought over.
    #[must_use]
    pub fn new(restart: bool, jitter: Duration, interval: Duration) -> Self {
        Self { restart, jitter, memory: BTreeMap::new(), fights: Fights::new(interval), restart_at: None }
    }

    /// The fights over files, for whoever tells of them.
    pub fn fights(&mut self) -> &mut Fights<String> {
        &mut self.fights
    }

    /// One round. May be dropped while it waits: each step is whole in itself.
    pub async fn round(&mut self, tree: &Tree, wanted: &Wanted) -> Outcome {
        let mut outcome = Outcome::default();
        let in_place = match tree.lock().await {
            Ok(_lock) => self.write(tree, wanted, &mut outcome),
            Err(error) => {
                let problem = Some(error.to_string());
                outcome.files = wanted.units.iter().map(|unit| (unit.clone(), problem.clone())).collect();
                return outcome;
            }
        };
        outcome.systemd = match self.with_systemd(tree, wanted, in_place, &mut outcome).await {
            Ok(true) => Reach::Fine,
            Ok(false) => Reach::Absent,
            Err(error) => Reach::Failed(error.to_string()),
        };
        outcome
    }

    /// Writes what differs, and returns what is in place then.
    fn write<'a>(&mut self, tree: &Tree, wanted: &'a Wanted, outcome: &mut Outcome) -> Vec<InPlace<'a>> {
        // Who is not named any more is forgotten, once it may be restarted again.
        let now = Instant::now();
        self.memory.retain(|unit, memory| {
            wanted.units.contains(unit) || !plan::hold(memory.restarted, now).is_zero()
        });
        let mut in_place = Vec::new();
        for unit in &wanted.units {
            let problem = match self.write_one(tree, unit, &wanted.text, outcome) {
                Ok(Some(there)) => {
                    in_place.push(there);
                    None
                }
                Ok(None) => {
                    outcome.held = true;
                    let path = tree.path(unit);
                    Some(format!("{} is held back while somebody changes it again and again", path.display()))
                }
                Err(error) => Some(error.to_string()),
            };
            outcome.files.push((unit.clone(), problem));
        }
        in_place
    }

    /// Nothing if it is held back.
    fn write_one<'a>(
        &mut self,
        tree: &Tree,
        unit: &'a str,
        text: &Secret,
        outcome: &mut Outcome,
    ) -> Result<Option<InPlace<'a>>, FileError> {
        let seen = SystemTime::now();
        let found = tree.look(unit)?;
        let memory = self.memory.entry(unit.to_owned()).or_default();
        let in_place =
            |modified, seen| InPlace { unit, modified, for_systemd: tree.path_for_systemd(unit), seen };
        let differs = match &found {
            None => "it is not there".to_owned(),
            Some(found) => match found.differs(text) {
                None => {
                    memory.placed = Some(text.clone());
                    return Ok(Some(in_place(found.modified, Some(seen))));
                }
                Some(differs) => differs,
            },
        };
        let drifted = memory.placed.as_ref() == Some(text);
        let now = Instant::now();
        if drifted {
            let hold = self.fights.hold(&unit.to_owned(), now);
            if !hold.is_zero() {
                outcome.sooner(hold);
                return Ok(None);
            }
        }
        // With other rights only, it is nothing new to a unit.
        let same = found.filter(|found| found.text == *text).map(|found| found.modified);
        tree.write(unit, text, same.unwrap_or_else(SystemTime::now))?;
        outcome.written += 1;
        memory.placed = Some(text.clone());
        memory.unread = true;
        let path = tree.path(unit);
        if drifted {
            outcome.drift += 1;
            self.fights.healed(unit.to_owned(), now);
            if self.fights.is_on() {
                tracing::debug!(path = %path.display(), "put back again: {differs}");
            } else {
                tracing::warn!(path = %path.display(), "somebody changed it, put back: {differs}");
            }
        } else {
            tracing::info!(path = %path.display(), "written: {differs}");
        }
        if same.is_none() {
            let before = memory.verified.take().or(memory.healed.take());
            memory.healed = before.filter(|before| before.text == *text);
            memory.changed |= memory.healed.is_none();
        }
        let modified = tree.look(unit)?.map_or(seen, |found| found.modified);
        Ok(Some(in_place(modified, None)))
    }

    /// Whether there is a systemd at all.
    async fn with_systemd(
        &mut self,
        tree: &Tree,
        wanted: &Wanted,
        in_place: Vec<InPlace<'_>>,
        outcome: &mut Outcome,
    ) -> Result<bool, SystemdError> {
        let Some(systemd) = Systemd::connect(tree.root()).await? else { return Ok(false) };
        let mut units = ask(&systemd, &in_place).await?;
        let mut reload = self.memory.values().any(|memory| memory.unread);
        for (there, unit) in in_place.iter().zip(&units) {
            let memory = self.memory.entry(there.unit.to_owned()).or_default();
            let lacks = unit.lacks(&there.for_systemd);
            let behind = unit.needs_reload || lacks;
            reload |= behind && !memory.told_in_vain;
            memory.told_in_vain &= behind;
            // A run that was killed has written it. What runs by now has begun without it.
            memory.changed |= lacks;
        }
        if reload {
            systemd.reload().await?;
            let now = SystemTime::now();
            for memory in self.memory.values_mut() {
                memory.unread = false;
                if std::mem::take(&mut memory.changed) {
                    memory.read = Some(now);
                }
            }
            tracing::info!("systemd has read its units anew");
            units = ask(&systemd, &in_place).await?;
            for (there, unit) in in_place.iter().zip(&units) {
                self.memory.entry(there.unit.to_owned()).or_default().told_in_vain =
                    unit.needs_reload || unit.lacks(&there.for_systemd);
            }
        }
        let read = SystemTime::now();
        let (mut due, mut ignored) = (Vec::new(), None);
        for (there, unit) in in_place.iter().zip(&units) {
            let memory = self.memory.entry(there.unit.to_owned()).or_default();
            let mut modified = there.modified;
            if let Some(healed) = &memory.healed {
                if plan::started_in_drift(&unit.run, healed.at) {
                    memory.read = Some(read);
                } else {
                    tree.set_modified(there.unit, healed.modified)?;
                    modified = healed.modified;
                }
                memory.healed = None;
            }
            let at = there.seen.unwrap_or(read);
            memory.verified = Some(Verified { text: wanted.text.clone(), modified, at });
            if !unit.exists {
                tracing::debug!(unit = there.unit, "no such unit on this node; its drop-in waits for one");
                continue;
            }
            if unit.lacks(&there.for_systemd) {
                ignored.get_or_insert(SystemdError::Ignored { path: tree.path(there.unit) });
                continue;
            }
            if memory.answered != Some(modified) && plan::is_due(&unit.run, modified, memory.read) {
                due.push((there.unit, modified));
            }
        }
        outcome.due = due.iter().map(|(unit, _)| (*unit).to_owned()).collect();
        self.restart(tree, &systemd, &due, outcome).await;
        ignored.map_or(Ok(true), Err)
    }

    /// Restarts what is due, when its time has come.
    async fn restart(
        &mut self,
        tree: &Tree,
        systemd: &Systemd,
        due: &[(&str, SystemTime)],
        outcome: &mut Outcome,
    ) {
        let now = Instant::now();
        let last = |unit: &str| self.memory.get(unit).and_then(|memory| memory.restarted);
        let (ready, held): (Vec<_>, Vec<_>) =
            due.iter().map(|due| (due, plan::hold(last(due.0), now))).partition(|(_, hold)| hold.is_zero());
        if !self.restart || ready.is_empty() {
            self.restart_at = None;
            if let Some(hold) = held.iter().map(|(_, hold)| *hold).min().filter(|_| self.restart) {
                outcome.sooner(hold);
            }
            return;
        }
        let at = *self.restart_at.get_or_insert_with(|| {
            let wait = random_below(self.jitter);
            tracing::info!(units = outcome.due.join(","), wait = %GoDuration(wait), "they run without their drop-in and will be restarted");
            now + wait
        });
        if at > now {
            outcome.sooner(at - now);
            return;
        }
        self.restart_at = None;
        for ((unit, modified), _) in ready {
            let memory = self.memory.entry((*unit).to_owned()).or_default();
            memory.restarted = Some(now);
            match systemd.restart(unit).await {
                Ok(run) => {
                    tracing::info!(unit, "restarted, it runs with its drop-in");
                    (memory.read, memory.answered) = (None, Some(*modified));
                    // It was in place before the unit's start; if it still is, the unit has it.
                    let now = SystemTime::now();
                    let still = tree
                        .look(unit)
                        .is_ok_and(|found| found.is_some_and(|found| found.modified == *modified));
                    if let Some(verified) = memory.verified.as_mut().filter(|_| still) {
                        verified.at = now;
                    }
                    outcome.restarted.push((*unit).to_owned());
                    // The clock was set back: for whoever looks next, it has to look older than the unit.
                    let set_back = run.began().filter(|_| run.began_before(*modified));
                    if let Some(began) = set_back {
                        match tree.set_modified(unit, began) {
                            Ok(()) => memory.moved_to(began),
                            Err(error) => tracing::warn!("{error}; the next run may restart {unit} again"),
                        }
                    }
                }
                Err(error) => {
                    outcome.restart_failed = Some(error.to_string());
                    return;
                }
            }
        }
        outcome.due.retain(|unit| !outcome.restarted.contains(unit));
    }
}

async fn ask(systemd: &Systemd, in_place: &[InPlace<'_>]) -> Result<Vec<Unit>, SystemdError> {
    let mut units = Vec::new();
    for there in in_place {
        units.push(systemd.unit(there.unit).await?);
    }
    Ok(units)
}

/// A random time in `[0, longest)`.
pub fn random_below(longest: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    // 32 bits are fine enough, and as a fraction below 1.
    longest.mul_f64(f64::from(u32::try_from(random >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_below_the_longest() {
        let longest = Duration::from_secs(60);
        let waits: Vec<Duration> = (0..1000).map(|_| random_below(longest)).collect();
        assert!(waits.iter().all(|wait| *wait < longest));
        for quarter in 0..4 {
            let from = longest / 4 * quarter;
            let count = waits.iter().filter(|wait| **wait >= from && **wait < from + longest / 4).count();
            assert!((150..350).contains(&count), "{count} in quarter {quarter}");
        }
        assert_eq!(random_below(Duration::ZERO), Duration::ZERO);
    }
}
