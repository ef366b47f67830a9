//! Go durations: `1m0s`, `1.5h`, `300ms`.
//!
//! Source: Go's `time.ParseDuration` and `time.Duration.String`.

use std::{fmt, str::FromStr, time::Duration};

/// A length of time that reads and prints as Go's `time.Duration` does.
///
/// Accepted: a sum of decimal numbers with a unit each (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), or `0`.
/// Go's negative durations are refused: nothing here lasts less than no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

/// Why a text is not a Go duration.
#[derive(Debug, thiserror::Error)]
#[error("not a duration; write a number and a unit (ns, us, ms, s, m, h), such as 30s or 1m0s")]
pub struct NotADuration;

const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];

impl FromStr for GoDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let text = text.strip_prefix('+').unwrap_or(text);
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        // humantime reads more than Go does ("2 weeks", and "1M" as a month): only Go's words get through.
        let numeric = |c: char| c.is_ascii_digit() || c == '.';
        let mut words = text.split(numeric).filter(|word| !word.is_empty());
        if !text.starts_with(numeric) || !words.all(|word| UNITS.contains(&word)) {
            return Err(NotADuration);
        }
        let duration = humantime::parse_duration(&text.replace('μ', "µ")).map_err(|_| NotADuration)?;
        // Go counts nanoseconds in an int64: 292 years.
        if i64::try_from(duration.as_nanos()).is_err() { Err(NotADuration) } else { Ok(Self(duration)) }
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", Decimal { whole: nanos, scale: 1_000 }),
            1_000_000..1_000_000_000 => write!(f, "{}ms", Decimal { whole: nanos, scale: 1_000_000 }),
            _ => {
                let minutes = self.0.as_secs() / 60;
                let (hours, minutes) = (minutes / 60, minutes % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", Decimal { whole: nanos % 60_000_000_000, scale: 1_000_000_000 })
            }
        }
    }
}

/// `whole / scale` with as many decimal places as it takes; `scale` is a power of ten.
struct Decimal {
    whole: u128,
    scale: u128,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, fraction) = (self.whole / self.scale, self.whole % self.scale);
        if fraction == 0 {
            return write!(f, "{units}");
        }
        let places = usize::try_from(self.scale.ilog10()).unwrap_or_default();
        let digits = format!("{fraction:0places$}");
        write!(f, "{units}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Left: what Go's ParseDuration takes. Right: what its String gives back.
    const GO: &[(&str, &str)] = &[
        ("0", "0s"),
        ("0s", "0s"),
        ("1m", "1m0s"),
        ("1m0s", "1m0s"),
        ("60s", "1m0s"),
        ("+5s", "5s"),
        ("1.5h", "1h30m0s"),
        ("1h", "1h0m0s"),
        ("100h", "100h0m0s"),
        ("300ms", "300ms"),
        ("1.5s", "1.5s"),
        ("1500ms", "1.5s"),
        ("1us", "1µs"),
        ("1µs", "1µs"),
        ("1μs", "1µs"),
        ("2.5ms", "2.5ms"),
        ("7ns", "7ns"),
        ("1h15m30.918s", "1h15m30.918s"),
        ("1m0.000000001s", "1m0.000000001s"),
    ];

    #[test]
    fn reads_and_prints_as_go() {
        for (text, printed) in GO {
            let parsed: GoDuration = text.parse().unwrap_or_else(|_| panic!("{text} was refused"));
            assert_eq!(parsed.to_string(), *printed, "for {text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            " ",
            "5",
            "s",
            "-5s",
            "1M",
            "2weeks",
            "1 s",
            "1s ",
            "5d",
            "1m0",
            "1e3s",
            "..s",
            "99999999999999h",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn printed_durations_read_back(nanos in 0..=i64::MAX.cast_unsigned()) {
            let duration = GoDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse::<GoDuration>().unwrap(), duration);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<GoDuration>();
        }
    }
}
