//! When to stop fighting. Pure.
//!
//! What is taken away now and then is put back at once. What is taken away again and again is wanted gone by somebody
//! who will not give up, and neither will we; but each round costs the node something, so the rounds become rarer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Healed at once, before the first wait.
const FREE: f64 = 20.0;
/// Counted at most: however long a fight was, it is forgotten in a few minutes.
const MOST: f64 = 32.0;
/// Forgiven each second; so in the long run a fight is ten seconds a round, or a sync interval.
const LEAK: f64 = 0.1;
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// A count that leaks away with time.
#[derive(Debug)]
pub struct Bucket {
    level: f64,
    at: Option<Instant>,
    leak_per_second: f64,
}

impl Bucket {
    /// Empty.
    #[must_use]
    pub fn new(leak_per_second: f64) -> Self {
        Self { level: 0.0, at: None, leak_per_second }
    }

    /// What is left in it.
    #[must_use]
    pub fn level(&self, now: Instant) -> f64 {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        (self.level - since.as_secs_f64() * self.leak_per_second).max(0.0)
    }

    /// One more.
    pub fn add(&mut self, now: Instant) {
        self.level = (self.level(now) + 1.0).min(MOST);
        self.at = Some(now);
    }
}

/// The fight over one kind of thing.
#[derive(Debug)]
pub struct Contention {
    heals: Bucket,
    last: Option<Instant>,
    longest_wait: Duration,
    told: bool,
}

/// What is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Somebody fights back: heals are held up from now on.
    Begins,
    /// It has calmed down.
    Ends,
}

impl Contention {
    /// With the sync interval, which is the longest wait.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { heals: Bucket::new(LEAK), last: None, longest_wait: interval, told: false }
    }

    /// How long to wait before the next heal; zero as a rule.
    #[must_use]
    pub fn hold(&self, now: Instant) -> Duration {
        let over = self.heals.level(now) - FREE;
        let Some(last) = self.last.filter(|_| over >= 0.0) else { return Duration::ZERO };
        let wait = FIRST_WAIT.as_secs_f64() * over.exp2();
        let wait = Duration::from_secs_f64(wait).min(self.longest_wait);
        (last + wait).saturating_duration_since(now)
    }

    /// Something was put back.
    pub fn healed(&mut self, now: Instant) {
        self.heals.add(now);
        self.last = Some(now);
    }

    /// Whether there is a fight.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.told
    }

    /// Whether that has changed since it was asked last.
    pub fn change(&mut self, now: Instant) -> Option<Told> {
        let level = self.heals.level(now);
        let change = match self.told {
            false if level >= FREE => Told::Begins,
            true if level < FREE / 2.0 => Told::Ends,
            _ => return None,
        };
        self.told = !self.told;
        Some(change)
    }
}

/// The fights over things of one kind: each has its own, so that what is not fought over is healed at once.
#[derive(Debug)]
pub struct Fights<K> {
    over: BTreeMap<K, Contention>,
    longest_wait: Duration,
    on: bool,
}

impl<K: Ord> Fights<K> {
    /// With the sync interval, which is the longest wait.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { over: BTreeMap::new(), longest_wait: interval, on: false }
    }

    /// How long to wait before the next heal of a thing; zero as a rule.
    #[must_use]
    pub fn hold(&self, thing: &K, now: Instant) -> Duration {
        self.over.get(thing).map_or(Duration::ZERO, |contention| contention.hold(now))
    }

    /// A thing was put back.
    pub fn healed(&mut self, thing: K, now: Instant) {
        self.over.entry(thing).or_insert_with(|| Contention::new(self.longest_wait)).healed(now);
    }

    /// Whether there is a fight over any of them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether that has changed since it was asked last.
    pub fn change(&mut self, now: Instant) -> Option<Told> {
        for contention in self.over.values_mut() {
            contention.change(now);
        }
        let on = self.over.values().any(Contention::is_on);
        let change = (on != self.on).then_some(if on { Told::Begins } else { Told::Ends });
        self.on = on;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heals as soon as allowed, with somebody who takes it away at once, for so long; returns the moments.
    fn fight(interval: u64, seconds: u64) -> (Vec<Duration>, Contention, Instant) {
        let start = Instant::now();
        let mut contention = Contention::new(Duration::from_secs(interval));
        let (mut now, mut heals) = (start, Vec::new());
        while now < start + Duration::from_secs(seconds) {
            now += contention.hold(now);
            contention.healed(now);
            heals.push(now - start);
        }
        (heals, contention, now)
    }

    #[test]
    fn the_first_twenty_are_healed_at_once_then_waits_double() {
        let (heals, ..) = fight(60, 1);
        assert_eq!(heals.iter().filter(|heal| heal.is_zero()).count(), 20);
        let (heals, ..) = fight(60, 600);
        let waits: Vec<f64> =
            heals.windows(2).skip(19).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        assert!(waits.windows(2).take(5).all(|pair| pair[1] > pair[0] * 1.5), "{waits:?}");
        let last = waits.last().unwrap();
        assert!((5.0..60.0).contains(last), "some ten seconds in the long run: {last}");
    }

    #[test]
    fn no_wait_is_longer_than_the_interval() {
        let (heals, ..) = fight(1, 60);
        let longest = heals.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert_eq!(longest, Duration::from_secs(1));
    }

    #[test]
    fn a_fight_is_told_once_and_so_is_its_end() {
        let (_, mut contention, now) = fight(60, 30);
        assert_eq!(contention.change(now), Some(Told::Begins));
        assert_eq!(contention.change(now), None);
        assert!(contention.is_on());
        let later = now + Duration::from_secs(240);
        assert_eq!(contention.change(later), Some(Told::Ends));
        assert_eq!(contention.change(later), None);
        assert_eq!(contention.hold(later), Duration::ZERO);
    }

    #[test]
    fn what_happens_now_and_then_is_no_fight() {
        let start = Instant::now();
        let mut contention = Contention::new(Duration::from_secs(60));
        for n in 0..1000 {
            let now = start + Duration::from_secs(n * 10);
            assert_eq!(contention.hold(now), Duration::ZERO);
            contention.healed(now);
            assert_eq!(contention.change(now), None);
        }
    }

    #[test]
    fn what_is_not_fought_over_is_healed_at_once() {
        let (now, mut fights) = (Instant::now(), Fights::new(Duration::from_secs(60)));
        (0..25).for_each(|_| fights.healed("one", now));
        fights.healed("other", now);
        assert_eq!(fights.change(now), Some(Told::Begins));
        assert_eq!(fights.change(now), None);
        assert!(fights.is_on() && !fights.hold(&"one", now).is_zero());
        assert!(fights.hold(&"other", now).is_zero() && fights.hold(&"new", now).is_zero());
        assert_eq!(fights.change(now + Duration::from_secs(600)), Some(Told::Ends));
    }
}
