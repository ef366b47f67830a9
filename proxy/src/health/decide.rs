//! When to check, and what checks say. Pure, but for chance.

use std::time::Duration;

/// So many checks in a row have to fail.
const FALL: u32 = 2;
/// How far from the interval a wait may be, so that nodes don't check in step.
const JITTER: f64 = 0.2;
/// When an endpoint is looked at of which a connection has said that it fails, at the latest.
const SOON: Duration = Duration::from_secs(1);
/// How often that time doubles.
const MOST_DOUBLED: u32 = 10;

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All is well.
    Good,
    /// A connect failed outright.
    Fails {
        /// Nobody listens there.
        refuses: bool,
        /// In words.
        why: String,
    },
    /// Anything else that an API server does not do.
    Bad(String),
    /// Nothing: we are out of descriptors, ports or memory.
    Nothing(String),
}

/// What an endpoint is from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What it was.
    Same,
    /// Good.
    Healthy,
    /// Not good.
    Unhealthy {
        /// Connects fail outright.
        refuses: bool,
    },
}

/// Checks in a row that have failed.
#[derive(Debug, Default)]
pub struct Row(u32);

impl Row {
    /// Whether the last check was good, or there was none.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.0 == 0
    }

    /// Takes note of a check of an endpoint that was healthy or not until now. A connect that fails outright counts at
    /// once, as it does when a connection finds that out: there is nothing to be patient for.
    pub fn take(&mut self, found: &Found, is_healthy: bool) -> Verdict {
        match found {
            Found::Nothing(_) => Verdict::Same,
            Found::Good => {
                self.0 = 0;
                Verdict::Healthy
            }
            Found::Fails { refuses, .. } => {
                self.0 = FALL;
                Verdict::Unhealthy { refuses: *refuses }
            }
            Found::Bad(_) => {
                self.0 = self.0.saturating_add(1);
                let fails = self.0 >= FALL || !is_healthy;
                if fails { Verdict::Unhealthy { refuses: false } } else { Verdict::Same }
            }
        }
    }
}

/// How long to wait for the first check. `chance` is from 0 to 1.
#[must_use]
pub fn first(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(chance.clamp(0.0, 1.0))
}

/// How long to wait from one check to the next.
#[must_use]
pub fn next(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0))
}

/// How long to wait when a connection has said that an endpoint fails. `asked` is how many checks in a row were asked for
/// like this before: an endpoint that is good to its checks and not to connections is not checked more and more.
#[must_use]
pub fn soon(interval: Duration, asked: u32, chance: f64) -> Duration {
    first(interval.min(SOON * 2_u32.pow(asked.min(MOST_DOUBLED))), 0.1 + 0.9 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_good_check_is_enough_and_two_bad_ones() {
        let why = String::new;
        let (good, bad, refuses, nothing) = (
            Found::Good,
            Found::Bad(why()),
            Found::Fails { refuses: true, why: why() },
            Found::Nothing(why()),
        );
        const FAILS: Verdict = Verdict::Unhealthy { refuses: false };
        const REFUSES: Verdict = Verdict::Unhealthy { refuses: true };
        for (checks, verdicts) in [
            (vec![&good, &good], vec![Verdict::Healthy; 2]),
            (
                vec![&bad, &good, &bad, &bad, &bad],
                vec![Verdict::Same, Verdict::Healthy, Verdict::Same, FAILS, FAILS],
            ),
            (vec![&bad, &nothing, &bad, &good], vec![Verdict::Same, Verdict::Same, FAILS, Verdict::Healthy]),
            (vec![&nothing, &nothing, &nothing], vec![Verdict::Same; 3]),
            (vec![&refuses, &bad, &good, &bad], vec![REFUSES, FAILS, Verdict::Healthy, Verdict::Same]),
        ] {
            let (mut row, mut is_healthy) = (Row::default(), true);
            let seen: Vec<Verdict> = checks
                .iter()
                .map(|check| {
                    let verdict = row.take(check, is_healthy);
                    is_healthy = match verdict {
                        Verdict::Same => is_healthy,
                        verdict => verdict == Verdict::Healthy,
                    };
                    verdict
                })
                .collect();
            assert_eq!(seen, verdicts, "{checks:?}");
        }
    }

    #[test]
    fn what_a_connection_found_is_not_forgotten_by_one_bad_check() {
        assert_eq!(
            Row::default().take(&Found::Bad(String::new()), false),
            Verdict::Unhealthy { refuses: false }
        );
    }

    proptest! {
        #[test]
        fn waits_are_spread(interval in 1_u64..100_000, asked in 0_u32..100, chance in 0.0..=1.0_f64) {
            let interval = Duration::from_millis(interval);
            prop_assert!(first(interval, chance) <= interval);
            let next = next(interval, chance);
            prop_assert!(next >= interval.mul_f64(0.79) && next <= interval.mul_f64(1.21));
            let latest = interval.min(SOON * 2_u32.pow(asked.min(10)));
            let soon = soon(interval, asked, chance);
            prop_assert!(soon <= latest && soon >= latest.mul_f64(0.099));
        }
    }

    #[test]
    fn no_two_of_many_nodes_check_in_step() {
        let mut random = fastrand::Rng::with_seed(1);
        let interval = Duration::from_secs(10);
        let mut seconds = [0; 10];
        for _ in 0..5000 {
            let at = first(interval, random.f64());
            seconds[usize::try_from(at.as_secs()).unwrap().min(9)] += 1;
        }
        assert!(seconds.iter().all(|nodes| (400..600).contains(nodes)), "{seconds:?}");
    }
}
