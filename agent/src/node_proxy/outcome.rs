//! What came of a round. Plain data.

use std::time::Duration;

/// Whether systemd could be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    /// It was.
    Fine,
    /// There is no socket of it.
    #[default]
    Absent,
    /// It does not do as it should.
    Failed(String),
}

/// What came of a round.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Units, and what is wrong with their files.
    pub files: Vec<(String, Option<String>)>,
    /// Files that were written.
    pub written: usize,
    /// Those among them that somebody had taken away or changed.
    pub drift: usize,
    /// Files that are not put back for a while, since somebody changes them again and again.
    pub held: bool,
    /// systemd.
    pub systemd: Reach,
    /// Units that run without their drop-in.
    pub due: Vec<String>,
    /// Units that were restarted.
    pub restarted: Vec<String>,
    /// Why a restart failed. Those after it were not tried.
    pub restart_failed: Option<String>,
    /// When the next round is wanted, if that is sooner than usual.
    pub again: Option<Duration>,
}

impl Outcome {
    /// All that is wrong, in one line; nothing if nothing is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let files = self.files.iter().filter_map(|(_, problem)| problem.clone());
        let systemd = match &self.systemd {
            Reach::Failed(problem) => Some(problem.clone()),
            Reach::Fine | Reach::Absent => None,
        };
        let problems: Vec<String> = files.chain(systemd).chain(self.restart_failed.clone()).collect();
        (!problems.is_empty()).then(|| problems.join(" | "))
    }

    /// The next round is wanted within that time.
    pub fn sooner(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }
}
