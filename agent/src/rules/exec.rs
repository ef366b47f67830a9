//! Runs one iptables program, and says what its answer means.

use std::{
    fmt,
    path::PathBuf,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use ::iptables::IPTables;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, gettid},
};

/// How long a program may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Five seconds of waiting for the lock that all iptables programs share (`-w`), ten in all: somebody may be
    /// restoring a large rule set.
    None,
    /// One second, and two in all: there was a wait in vain just now, and there is more to do.
    Great,
}

impl Haste {
    fn lock_wait(self) -> u32 {
        match self {
            Self::None => 5,
            Self::Great => 1,
        }
    }

    fn time_limit(self) -> Duration {
        Duration::from_secs(u64::from(self.lock_wait()) * 2)
    }
}

/// One of the iptables programs, by its full path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program(&'static str);

impl Program {
    /// Looks a program up in `PATH`, then where distributions keep it.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
        let candidates = std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name));
        let found = candidates.into_iter().find(|path| path.is_file())?;
        // The iptables crate wants 'static; this happens once a program, at the start.
        Some(Self(Box::leak(found.to_str()?.to_owned().into_boxed_str())))
    }

    /// Runs it on one table and waits for its answer, in bounded time. `command` is split at spaces.
    ///
    /// Returns what it printed, or nothing when it says that there is no such rule or chain.
    ///
    /// # Errors
    /// When it can't be run, or says anything else.
    pub async fn run(
        self,
        haste: Haste,
        table: &'static str,
        command: &str,
    ) -> Result<Option<String>, RunError> {
        let command = format!("-w {} {command}", haste.lock_wait());
        let shown = format!("{self} -t {table} {command}");
        tracing::trace!(command = shown, "running");
        let worker = Arc::new(AtomicI32::new(0));
        let task = tokio::task::spawn_blocking({
            let worker = Arc::clone(&worker);
            move || {
                worker.store(gettid().as_raw(), Ordering::Relaxed);
                // Not new(): it starts the program to ask its version, and has every call wait without limit.
                let program = IPTables { cmd: self.0, has_check: true, has_wait: false, is_numeric: true };
                program.execute(table, &command).map_err(|error| error.to_string())
            }
        });
        let output = match tokio::time::timeout(haste.time_limit(), task).await {
            Ok(Ok(Ok(output))) => output,
            Ok(Ok(Err(cause))) => return Err(RunError::Start { command: shown, cause }),
            Ok(Err(cause)) => return Err(RunError::Start { command: shown, cause: cause.to_string() }),
            Err(_) => {
                kill_children(&format!("/proc/self/task/{}", worker.load(Ordering::Relaxed)));
                return Err(RunError::TimedOut { command: shown, seconds: haste.time_limit().as_secs() });
            }
        };
        understand(shown, &output)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Ends what a task (a folder of `/proc`) has started, and what that has started, so that a thread of ours that
/// waits for it comes back.
fn kill_children(task: &str) {
    let children = std::fs::read_to_string(format!("{task}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // Stopped first, so that it starts nothing more; it may have ended meanwhile.
        let _ = kill(Pid::from_raw(child), Signal::SIGSTOP);
        kill_children(&format!("/proc/{child}/task/{child}"));
        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
    }
}

/// Why an iptables program gave no answer. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot run {command}: {cause}")]
    Start {
        /// The command line.
        command: String,
        /// What the system said.
        cause: String,
    },
    /// It did not end.
    #[error("{command} did not end within {seconds}s and was killed")]
    TimedOut {
        /// The command line.
        command: String,
        /// How long it was given.
        seconds: u64,
    },
    /// The kernel refused.
    #[error("{command}: {stderr}; the agent needs CAP_NET_ADMIN, and with iptables-legacy also CAP_NET_RAW")]
    Denied {
        /// The command line.
        command: String,
        /// What it printed.
        stderr: String,
    },
    /// Somebody else holds the lock.
    #[error(
        "{command}: another program held the xtables lock all that time; see which one with fuser /run/xtables.lock"
    )]
    Locked {
        /// The command line.
        command: String,
    },
    /// The lock file can't be opened.
    #[error("{command}: {stderr}; mount the node's /run/xtables.lock, writable")]
    LockFile {
        /// The command line.
        command: String,
        /// What it printed.
        stderr: String,
    },
    /// Anything else.
    #[error("{command} failed with {status}: {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit code or signal.
        status: String,
        /// What it printed.
        stderr: String,
    },
}

/// Reads exit code and standard error. Exit code 1 alone says nothing: iptables-legacy ends with it for a
/// missing capability too, so only the words that mean "no such rule" are taken for it. Pure.
///
/// Returns what was printed, or nothing when it says that there is no such rule or chain.
///
/// # Errors
/// When it says anything else.
pub fn understand(command: String, output: &Output) -> Result<Option<String>, RunError> {
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    let says = |words: &[&str]| words.iter().any(|word| printed.contains(word));
    if output.status.code() == Some(1)
        && says(&["does a matching rule exist in that chain", "No chain/target/match by that name"])
    {
        return Ok(None);
    }
    let stderr = one_line(&printed);
    Err(if says(&["can't open lock file"]) {
        RunError::LockFile { command, stderr }
    } else if says(&["holding the xtables lock"]) {
        RunError::Locked { command }
    } else if says(&["Permission denied", "Operation not permitted", "you must be root"]) {
        RunError::Denied { command, stderr }
    } else {
        RunError::Failed { command, status: output.status.to_string(), stderr }
    })
}

/// What a program printed, as one line of bounded length.
fn one_line(printed: &str) -> String {
    let lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut line: String = lines.join("; ").chars().take(400).collect();
    if line.is_empty() {
        line.push_str("(no message)");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn answer(code: i32, stderr: &str) -> Result<Option<String>, String> {
        let status = std::process::ExitStatus::from_raw(code << 8);
        let output =
            Output { status, stdout: b"-P OUTPUT ACCEPT".to_vec(), stderr: stderr.as_bytes().to_vec() };
        understand("iptables".to_owned(), &output).map_err(|error| format!("{error:?}"))
    }

    /// Left: what iptables 1.8.9 was seen to print. Right: what it means.
    #[test]
    fn exit_codes_are_read_with_their_message() {
        let bad_rule = "iptables: Bad rule (does a matching rule exist in that chain?).\n";
        assert_eq!(answer(0, ""), Ok(Some("-P OUTPUT ACCEPT".to_owned())));
        assert_eq!(
            answer(0, "# Warning: iptables-legacy tables present"),
            Ok(Some("-P OUTPUT ACCEPT".to_owned()))
        );
        assert_eq!(answer(1, bad_rule), Ok(None));
        assert_eq!(answer(1, "iptables: No chain/target/match by that name.\n"), Ok(None));
        for (code, stderr, kind) in [
            (1, "getsockopt failed strangely: Operation not permitted\n", "Denied"),
            (
                4,
                "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)",
                "Denied",
            ),
            (
                3,
                "iptables v1.8.9 (legacy): can't initialize iptables table `raw': Permission denied (you must be root)",
                "Denied",
            ),
            (
                4,
                "Can't lock /run/xtables.lock: Resource temporarily unavailable\nAnother app is currently holding the xtables lock. Stopped waiting after 5s.\n",
                "Locked",
            ),
            (4, "Fatal: can't open lock file /run/xtables.lock: Read-only file system\n", "LockFile"),
            (
                1,
                "iptables v1.8.9 (nf_tables): chain `INPUT' in table `filter' is incompatible, use 'nft' tool.\n",
                "Failed",
            ),
            (2, "iptables v1.8.9 (nf_tables): unknown option \"--bogus\"\n", "Failed"),
            (1, "", "Failed"),
            (4, bad_rule, "Failed"),
        ] {
            let error = answer(code, stderr).unwrap_err();
            assert!(error.starts_with(kind), "{code} {stderr:?} gave {error}");
        }
    }

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(one_line("a\n\n  b \n"), "a; b");
        assert_eq!(one_line("\n"), "(no message)");
        assert_eq!(one_line(&"x".repeat(10_000)).len(), 400);
    }
}
