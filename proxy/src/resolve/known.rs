//! What is known of a name, and when to ask for it again. Pure.

use std::{net::IpAddr, time::Duration};

use common::backoff::Backoff;

/// No name is asked for more often than that, whatever its TTL.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// Each is asked for once in that time at least.
pub const LONGEST: Duration = Duration::from_secs(300);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Addresses of a name that are kept, of each family: an answer of 64 KiB has more.
const MOST: usize = 1024;

/// What was answered, for one family of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These, for so long.
    Found(Vec<IpAddr>, Duration),
    /// There are none, or there is no such name.
    Nothing,
    /// No answer, or none that says anything.
    Failed(String),
}

/// The answers for IPv4 and IPv6.
pub type Looked = [Answer; 2];

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// There are addresses again, or for the first time.
    Well,
    /// It has no address, any more.
    Gone,
    /// DNS has failed.
    Failing(String),
}

/// A name's addresses.
#[derive(Debug)]
pub struct Known {
    /// Of IPv4 and IPv6.
    addresses: [Vec<IpAddr>; 2],
    /// That DNS has failed, or that there are none, is told.
    told: Option<Trouble>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Gone,
    Failing,
}

impl Default for Known {
    fn default() -> Self {
        Self { addresses: [Vec::new(), Vec::new()], told: None, backoff: Backoff::new(LONGEST_WAIT) }
    }
}

impl Known {
    /// All of them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().flatten().copied()
    }

    /// Whether the last answer was of no use.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        self.told.is_some()
    }

    /// Takes note of answers; says when to ask again, and what is new. A family of which DNS says nothing keeps what it
    /// has, unless the other has something: then it has gone. Where nothing is found at all everything stays.
    pub fn take(&mut self, looked: Looked) -> (Duration, Option<News>) {
        let found = looked.iter().filter_map(|answer| match answer {
            Answer::Found(_, ttl) => Some(*ttl),
            _ => None,
        });
        if let Some(ttl) = found.min() {
            for (known, answer) in self.addresses.iter_mut().zip(looked) {
                match answer {
                    Answer::Found(mut addresses, _) => {
                        addresses.truncate(MOST);
                        *known = addresses;
                    }
                    Answer::Nothing => known.clear(),
                    Answer::Failed(_) => {}
                }
            }
            self.backoff.succeeded();
            return (ttl.clamp(SHORTEST, LONGEST), self.told.take().map(|_| News::Well));
        }
        let why = looked.into_iter().find_map(|answer| match answer {
            Answer::Failed(why) => Some(why),
            _ => None,
        });
        let trouble = if why.is_some() { Trouble::Failing } else { Trouble::Gone };
        let is_new = self.told.replace(trouble) != Some(trouble);
        let news = is_new.then(|| why.map_or(News::Gone, News::Failing));
        (self.backoff.failed(), news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[&str], ttl: u64) -> Answer {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Answer::Found(addresses, Duration::from_secs(ttl))
    }

    fn failed() -> Answer {
        Answer::Failed("timed out".to_owned())
    }

    fn all(known: &Known) -> String {
        known.addresses().map(|address| address.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_name_is_asked_for_again_as_its_ttl_says() {
        for (ttl, again) in [(0, 5), (4, 5), (5, 5), (60, 60), (300, 300), (301, 300), (u64::MAX, 300)] {
            let taken = Known::default().take([found(&["10.0.0.1"], ttl), Answer::Nothing]);
            assert_eq!(taken, (Duration::from_secs(again), None), "{ttl}");
        }
        let both = Known::default().take([found(&["10.0.0.1"], 60), found(&["fd00::1"], 30)]);
        assert_eq!(both.0.as_secs(), 30);
    }

    #[test]
    fn what_is_known_outlives_failures() {
        let mut known = Known::default();
        assert_eq!(known.take([failed(), failed()]).1, Some(News::Failing("timed out".to_owned())));
        assert_eq!(known.take([failed(), Answer::Nothing]).1, None, "is told once");
        assert_eq!(all(&known), "");
        for (looked, addresses, news) in [
            ([found(&["10.0.0.1"], 9), found(&["fd00::1"], 9)], "10.0.0.1 fd00::1", Some(News::Well)),
            ([found(&["10.0.0.2"], 9), failed()], "10.0.0.2 fd00::1", None),
            ([failed(), found(&["fd00::2"], 9)], "10.0.0.2 fd00::2", None),
            ([failed(), failed()], "10.0.0.2 fd00::2", Some(News::Failing("timed out".to_owned()))),
            ([Answer::Nothing, Answer::Nothing], "10.0.0.2 fd00::2", Some(News::Gone)),
            ([Answer::Nothing, Answer::Nothing], "10.0.0.2 fd00::2", None),
            ([Answer::Nothing, failed()], "10.0.0.2 fd00::2", Some(News::Failing("timed out".to_owned()))),
            ([Answer::Nothing, found(&["fd00::3"], 9)], "fd00::3", Some(News::Well)),
            ([found(&["10.0.0.4"], 9), Answer::Nothing], "10.0.0.4", None),
        ] {
            assert_eq!(known.take(looked.clone()).1, news, "{looked:?}");
            assert_eq!(all(&known), addresses, "{looked:?}");
        }
    }

    #[test]
    fn failures_are_retried_ever_more_slowly() {
        let mut known = Known::default();
        let waits: Vec<u128> = (0..8).map(|_| known.take([failed(), failed()]).0.as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        let _ = known.take([found(&["10.0.0.1"], 60), Answer::Nothing]);
        assert_eq!(known.take([failed(), failed()]).0.as_millis(), 200);
    }

    #[test]
    fn a_huge_answer_is_cut() {
        let many: Vec<String> =
            (0..5000_u32).map(|number| std::net::Ipv4Addr::from(number).to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut known = Known::default();
        let _ = known.take([found(&many, 60), Answer::Nothing]);
        assert_eq!(known.addresses().count(), MOST);
    }
}
