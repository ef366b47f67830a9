//! Replicas whose clock is set: the server as it is, in a process of this test's own.

use std::{path::PathBuf, process::Command, time::Duration};

use common::shutdown::Signals;
use tempfile::TempDir;
use webhook::{certificates::seconds_since_1970, cli::Config, server::Server};

const FILE: &str = "TEST_CLOCK_AHEAD";

/// A clock that is ahead.
pub struct Clock(TempDir);

impl Default for Clock {
    fn default() -> Self {
        let clock = Self(tempfile::tempdir().unwrap());
        clock.set_ahead(Duration::ZERO);
        clock
    }
}

impl Clock {
    fn file(&self) -> PathBuf {
        self.0.path().join("ahead")
    }

    pub fn set_ahead(&self, ahead: Duration) {
        let fresh = self.0.path().join("fresh");
        std::fs::write(&fresh, ahead.as_secs().to_string()).unwrap();
        std::fs::rename(fresh, self.file()).unwrap();
    }

    /// The command of a replica as one that goes by this clock.
    pub fn replica(&self, command: Command) -> Command {
        let mut replica = Command::new(std::env::current_exe().unwrap());
        replica.args(["--exact", "clock::is_a_replica", "--nocapture"]).env(FILE, self.file());
        let args: Vec<_> = command.get_args().map(|arg| arg.to_str().unwrap()).collect();
        replica.env("TEST_REPLICA", args.join("\n"));
        replica.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        replica
    }
}

fn ahead_of_time() -> i64 {
    let ahead = std::fs::read_to_string(std::env::var(FILE).unwrap()).unwrap();
    seconds_since_1970() + ahead.parse::<i64>().unwrap()
}

/// No test, but what [`Clock::replica`] runs.
#[test]
fn is_a_replica() {
    let Ok(args) = std::env::var("TEST_REPLICA") else { return };
    let args = std::iter::once("replica").chain(args.lines());
    let mut config = Config::from_command_line(args.map(Into::into)).unwrap();
    config.clock = ahead_of_time;
    config.log.init().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let signals = Signals::install().unwrap();
        Server::build(config).await.unwrap().run(signals).await.unwrap();
    });
}
