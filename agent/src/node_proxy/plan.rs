//! When a unit is to be restarted, and when not. Pure.
//!
//! A restart of kubelet or containerd is the most that this program does to a node, so it is due only where a unit's
//! environment can't be right, and never twice for one change.

use std::time::{Duration, Instant, SystemTime};

/// Between two restarts of a unit by one process: a configuration that flaps must not make kubelet flap.
pub const BETWEEN_RESTARTS: Duration = Duration::from_secs(300);

/// What systemd says of a unit's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `ActiveState`, such as `active`.
    pub state: String,
    /// `ActiveEnterTimestamp`, in microseconds since 1970; 0 for never.
    pub active_enter: u64,
    /// `ExecMainStartTimestamp`, likewise.
    pub main_start: u64,
    /// `MainPID`; 0 for none.
    pub main_pid: u32,
}

impl Run {
    /// Whether it does what it is there for.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.state.as_str(), "active" | "reloading" | "refreshing")
    }

    /// When what runs now began to, and with that its environment; nothing if nothing runs.
    ///
    /// A unit that is still starting has the time of an earlier run as its `ActiveEnterTimestamp`; and as long as it
    /// has no main process, the one to come gets what systemd knows by then.
    #[must_use]
    pub fn began(&self) -> Option<SystemTime> {
        let times = match self.state.as_str() {
            _ if self.is_active() => [self.active_enter, self.main_start],
            "activating" if self.main_pid != 0 => [0, self.main_start],
            _ => [0, 0],
        };
        let first = times.into_iter().filter(|time| *time != 0).min()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(first))
    }

    /// Whether what runs began before `moment`. systemd's times are whole microseconds, and the moment is cut to
    /// them.
    #[must_use]
    pub fn began_before(&self, moment: SystemTime) -> bool {
        self.began().is_some_and(|began| began < whole_micros(moment))
    }
}

/// Without what systemd would not say of it.
#[must_use]
pub fn whole_micros(moment: SystemTime) -> SystemTime {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros())
        .ok()
        .and_then(|micros| SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros)))
        .unwrap_or(moment)
}

/// Whether a unit runs without its drop-in: what runs began before the file was written, or before this very process
/// made systemd read it.
#[must_use]
pub fn is_due(run: &Run, written: SystemTime, read: Option<SystemTime>) -> bool {
    run.began_before(read.map_or(written, |read| read.max(written)))
}

/// Whether a unit runs with a drop-in that is gone now: what runs began when the file was there.
#[must_use]
pub fn ran_with(run: &Run, written: SystemTime) -> bool {
    run.began().is_some() && !run.began_before(written)
}

/// Whether the unit may have been started while its drop-in was not as it should be. `verified` is when that was last
/// seen in place.
///
/// Where it was not, the file that was put back gets the old one's time, and no restart is due.
#[must_use]
pub fn started_in_drift(run: &Run, verified: SystemTime) -> bool {
    run.began().is_some() && !run.began_before(verified)
}

/// How long a restart that is due has to wait for the one before.
#[must_use]
pub fn hold(last: Option<Instant>, now: Instant) -> Duration {
    last.map_or(Duration::ZERO, |last| (last + BETWEEN_RESTARTS).saturating_duration_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: &str, active_enter: u64, main_start: u64, main_pid: u32) -> Run {
        Run { state: state.to_owned(), active_enter, main_start, main_pid }
    }

    fn at(micros: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
    }

    #[test]
    fn a_restart_is_due_where_what_runs_is_older() {
        for (run, written, read, due) in [
            (run("active", 50, 40, 7), 60, None, true),
            (run("active", 60, 60, 7), 60, None, false),
            (run("active", 70, 65, 7), 60, None, false),
            // Its main process began before, and took long to be ready.
            (run("active", 70, 50, 7), 60, None, true),
            (run("active", 70, 0, 0), 60, None, false),
            (run("active", 50, 0, 0), 60, None, true),
            (run("reloading", 50, 50, 7), 60, None, true),
            // Started after the file was written, and before systemd had read it.
            (run("active", 70, 65, 7), 60, Some(80), true),
            (run("active", 90, 85, 7), 60, Some(80), false),
            // The clock was set back in between.
            (run("active", 50, 50, 7), 60, Some(40), true),
            (run("activating", 50, 50, 7), 60, None, true),
            (run("activating", 50, 65, 7), 60, None, false),
            // Waits for its next try, or has not come to its main process yet.
            (run("activating", 50, 50, 0), 60, None, false),
            (run("inactive", 50, 50, 0), 60, None, false),
            (run("failed", 50, 50, 0), 60, None, false),
            (run("deactivating", 50, 50, 7), 60, None, false),
        ] {
            assert_eq!(is_due(&run, at(written), read.map(at)), due, "{run:?} {written} {read:?}");
        }
    }

    #[test]
    fn parts_of_a_microsecond_make_nothing_due() {
        let written = at(60) + Duration::from_nanos(999);
        assert!(!is_due(&run("active", 60, 60, 7), written, None));
        assert!(is_due(&run("active", 59, 59, 7), written, None));
    }

    #[test]
    fn who_ran_with_a_file_that_is_gone_is_who_was_not_due() {
        for (run, with) in [
            (run("active", 70, 65, 7), true),
            (run("active", 60, 60, 7), true),
            (run("active", 70, 50, 7), false),
            (run("inactive", 70, 65, 0), false),
        ] {
            assert_eq!(ran_with(&run, at(60)), with, "{run:?}");
        }
    }

    #[test]
    fn a_heal_restarts_only_who_was_started_in_between() {
        for (run, restarted) in [
            (run("active", 50, 50, 7), false),
            (run("active", 70, 70, 7), true),
            (run("active", 60, 60, 7), true),
            (run("activating", 50, 70, 7), true),
            (run("activating", 50, 50, 0), false),
            (run("inactive", 70, 70, 0), false),
        ] {
            assert_eq!(started_in_drift(&run, at(60)), restarted, "{run:?}");
        }
    }

    #[test]
    fn restarts_of_a_unit_are_five_minutes_apart() {
        let now = Instant::now();
        assert_eq!(hold(None, now), Duration::ZERO);
        assert_eq!(hold(Some(now), now), BETWEEN_RESTARTS);
        assert_eq!(hold(Some(now), now + Duration::from_secs(299)), Duration::from_secs(1));
        assert_eq!(hold(Some(now), now + Duration::from_secs(301)), Duration::ZERO);
    }
}
