//! What the daemon knows about itself, for whoever asks while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::zpages::{Check, Subject};

use super::{
    metrics::Metrics,
    outcome::{Outcome, Reach},
};

/// Shared between the rounds and those who ask.
#[derive(Debug, Default)]
pub struct Status {
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing before the first round has ended.
    files: Vec<(String, Option<String>)>,
    systemd: Option<Reach>,
    /// What is wrong with the configuration.
    config: Option<String>,
    due: Vec<String>,
    restart_failed: Option<String>,
    stopping: bool,
}

impl Status {
    /// Takes note of one round, and of what is wrong with the configuration. Returns all that is wrong.
    pub fn round(&self, outcome: &Outcome, config: Option<String>) -> Option<String> {
        let absent = (outcome.systemd == Reach::Absent).then(|| NO_SYSTEMD.to_owned());
        let problems: Vec<String> = config.iter().cloned().chain(outcome.problem()).chain(absent).collect();
        self.metrics.round(outcome, problems.is_empty());
        let mut state = self.state();
        state.files.clone_from(&outcome.files);
        state.systemd = Some(outcome.systemd.clone());
        state.due.clone_from(&outcome.due);
        state.restart_failed.clone_from(&outcome.restart_failed);
        state.config = config;
        (!problems.is_empty()).then(|| problems.join(" | "))
    }

    /// The program is about to end.
    pub fn stopping(&self) {
        self.state().stopping = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said where there is none.
pub const NO_SYSTEMD: &str = "there is no systemd to be reached: neither run/dbus/system_bus_socket nor run/systemd/private is below --root";

impl Subject for Status {
    fn checks(&self) -> Vec<Check> {
        let state = self.state();
        let or = |name, problem: &Option<String>, fine: String| match problem {
            None => Check::ok(name, fine),
            Some(problem) => Check::failed(name, problem.clone()),
        };
        let mut checks = vec![or("config", &state.config, String::new())];
        if state.stopping {
            checks.push(Check::failed("drop-in", "the program is stopping"));
        } else if state.systemd.is_none() {
            checks.push(Check::failed("drop-in", "the first round has not ended yet"));
        }
        checks.extend(state.files.iter().map(|(unit, problem)| or("drop-in", problem, unit.clone())));
        checks.extend(state.systemd.as_ref().map(|systemd| match systemd {
            Reach::Fine => Check::ok("systemd", ""),
            Reach::Absent => Check::failed("systemd", NO_SYSTEMD),
            Reach::Failed(problem) => Check::failed("systemd", problem.clone()),
        }));
        if let Some(problem) = &state.restart_failed {
            checks.push(Check::failed("restart", problem.clone()));
        } else if !state.due.is_empty() {
            // The node is no worse than before.
            let due = format!("{} run without their drop-in until they are restarted", state.due.join(", "));
            checks.push(Check::note("restart", due));
        }
        checks
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let of = |units: Vec<&str>| if units.is_empty() { "none".to_owned() } else { units.join(", ") };
        let in_place = state.files.iter().filter(|(_, problem)| problem.is_none());
        vec![
            ("Drop-ins in place", of(in_place.map(|(unit, _)| unit.as_str()).collect())),
            ("To be restarted", of(state.due.iter().map(String::as_str).collect())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::zpages::Outcome as Verdict;

    fn failed(status: &Status) -> Vec<&'static str> {
        let checks = status.checks().into_iter();
        checks.filter(|check| matches!(check.outcome, Verdict::Failed(_))).map(|check| check.name).collect()
    }

    #[test]
    fn ready_is_in_place_and_known_to_systemd() {
        let status = Status::default();
        assert_eq!(failed(&status), ["drop-in"]);
        let files = |problem: Option<&str>| vec![("kubelet".to_owned(), problem.map(ToOwned::to_owned))];
        for (outcome, config, failures) in [
            (Outcome { files: files(None), systemd: Reach::Fine, ..Outcome::default() }, None, &[][..]),
            (
                Outcome {
                    files: files(None),
                    systemd: Reach::Fine,
                    due: vec!["kubelet".into()],
                    ..Outcome::default()
                },
                None,
                &[],
            ),
            (
                Outcome { files: files(Some("x")), systemd: Reach::Fine, ..Outcome::default() },
                None,
                &["drop-in"],
            ),
            (Outcome { files: files(None), ..Outcome::default() }, Some("y".into()), &["config", "systemd"]),
            (
                Outcome {
                    systemd: Reach::Failed("z".into()),
                    restart_failed: Some("a".into()),
                    ..Outcome::default()
                },
                None,
                &["systemd", "restart"],
            ),
        ] {
            assert_eq!(status.round(&outcome, config).is_none(), failures.is_empty());
            assert_eq!(failed(&status), failures, "{outcome:?}");
        }
        let text = status.metrics();
        for line in [
            "apiserver_proxy_node_proxy_apply_total{result=\"success\"} 2",
            "apiserver_proxy_node_proxy_apply_total{result=\"error\"} 3",
            "apiserver_proxy_node_proxy_restart_total{result=\"error\"} 1",
            "apiserver_proxy_node_proxy_drift_total 0",
            "apiserver_proxy_node_proxy_restart_due 0",
            "apiserver_proxy_node_proxy_last_success_timestamp_seconds ",
            "apiserver_proxy_node_proxy_build_info{version=\"v",
        ] {
            assert!(text.lines().any(|there| there.starts_with(line)), "no {line} in:\n{text}");
        }
    }
}
