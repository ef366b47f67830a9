//! Programs started, watched, signalled and never left behind.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Output, Stdio},
    str::FromStr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::eventually;

/// Runs a shell command and returns what it printed.
///
/// # Panics
/// When it fails; shows its output.
#[track_caller]
pub fn sh(command: &str) -> String {
    let output = try_sh(command);
    assert!(
        output.status.success(),
        "{command}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a shell command, whatever comes of it.
///
/// # Panics
/// When there is no shell.
#[must_use]
pub fn try_sh(command: &str) -> Output {
    Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().expect("a shell")
}

/// The value of `key=` in a line of a log, without spaces.
///
/// # Panics
/// When it is not there, or is something else.
#[must_use]
#[track_caller]
pub fn field<T: FromStr>(line: &str, key: &str) -> T {
    let found = line.split_once(&format!("{key}=")).and_then(|(_, rest)| rest.split_whitespace().next());
    found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
}

/// A program that runs beside the test; its standard output and error are kept. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    printed: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts it.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let printed = Arc::<Mutex<String>>::default();
        let keep = |stream: Box<dyn Read + Send>| {
            let printed = Arc::clone(&printed);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut printed = printed.lock().expect("no reader panics");
                    printed.push_str(&line);
                    printed.push('\n');
                }
            })
        };
        let out = keep(Box::new(child.stdout.take().expect("piped")));
        let err = keep(Box::new(child.stderr.take().expect("piped")));
        Self { child, printed, readers: vec![out, err] }
    }

    /// What it has printed so far.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn printed(&self) -> String {
        self.printed.lock().expect("no reader panics").clone()
    }

    /// Waits until it has printed a line with these words, and returns the line.
    ///
    /// # Panics
    /// When it doesn't in time.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> String {
        let found = || self.printed().lines().find(|line| line.contains(words)).map(ToOwned::to_owned);
        eventually(|| format!("{words:?} in:\n{}", self.printed()), found)
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Waits for its end, and returns how it ended and all that it printed.
    ///
    /// # Panics
    /// When it goes on.
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        let printed = Arc::clone(&self.printed);
        let status = eventually(
            || format!("the end of a program that printed:\n{}", printed.lock().expect("no reader panics")),
            || self.child.try_wait().expect("a child"),
        );
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        (status, self.printed())
    }

    /// Has it ended?
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Asks it to stop (SIGTERM), and kills it if it is there after a while.
    pub fn end(mut self, patience: Duration) {
        let begin = Instant::now();
        let _ = kill(self.pid(), Signal::SIGTERM);
        while !self.has_ended() && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    #[track_caller]
    pub fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
