//! Files that are read again and again, for as long as the program runs.
//!
//! They are compared by content: kubelet swaps a symlink to replace them, and a watch on the file itself goes silent
//! after that. What is new counts once it was read the same twice, so that files that are still being written are left
//! alone; what is broken never takes the place of what works.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How often files are read.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// How long reading one may take.
const READ_TIME: Duration = Duration::from_secs(5);
/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Reads a whole file, of 1 MiB at most.
///
/// # Errors
/// When that can't be done.
pub fn read_now(path: &Path) -> io::Result<Vec<u8>> {
    common::files::read(path, LONGEST_FILE)
}

/// The same, within five seconds.
///
/// # Errors
/// When that can't be done.
pub async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_now(&owned));
    match tokio::time::timeout(READ_TIME, read).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(io::Error::other(error)),
        Err(_) => {
            let late = format!("no answer within {} s", READ_TIME.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, late))
        }
    }
}

/// What was read, and what of it is in use. Pure.
#[derive(Debug)]
pub struct Reload<T> {
    in_use: T,
    before: Option<Result<T, String>>,
    /// Whether what was seen has been counted as a failure: it is tried again each time, and counts once.
    counted: bool,
}

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Why what is in use is not what was read.
    pub problem: Option<String>,
    /// Whether there is something to count: a replacement, or one that has failed.
    pub count: Option<bool>,
}

impl<T: Clone + PartialEq> Reload<T> {
    /// Begins with what is in use.
    #[must_use]
    pub fn new(in_use: T) -> Self {
        Self { in_use, before: None, counted: false }
    }

    /// Looks at what was read, and has `replace` take it into use if it is new and whole. Nothing comes of it while it
    /// changes.
    pub fn look(
        &mut self,
        seen: Result<T, String>,
        replace: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<Look> {
        let mut look = None;
        if self.before.as_ref() == Some(&seen) {
            let replaced = match &seen {
                Ok(new) if self.in_use != *new => replace(new).map(|()| {
                    self.in_use = new.clone();
                    true
                }),
                Ok(_) => Ok(false),
                Err(error) => Err(error.clone()),
            };
            let count = match &replaced {
                Ok(new) => new.then_some(true),
                Err(_) => (!std::mem::replace(&mut self.counted, true)).then_some(false),
            };
            let problem =
                replaced.err().map(|why| format!("not replaced, the last good one stays in use: {why}"));
            look = Some(Look { problem, count });
        } else {
            self.counted = false;
        }
        self.before = Some(seen);
        look
    }
}

/// What is wrong with something, if anything is: kept for who asks, and told in the log once.
#[derive(Debug)]
pub struct Problem {
    with: &'static str,
    now: Mutex<Option<String>>,
}

impl Problem {
    /// Nothing is wrong with it.
    #[must_use]
    pub fn none(with: &'static str) -> Self {
        Self { with, now: Mutex::new(None) }
    }

    /// What is wrong.
    #[must_use]
    pub fn now(&self) -> Option<String> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what is wrong, and writes it to the log, once, and once that it is over.
    pub fn tell(&self, problem: Option<String>) {
        let mut told = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if problem == *told {
            return;
        }
        match &problem {
            Some(problem) => tracing::error!("{}: {problem}", self.with),
            None => tracing::info!("{}: all is well again", self.with),
        }
        *told = problem;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_counts_when_it_was_read_twice() {
        let mut reload = Reload::new(1);
        let mut look = |seen: Result<i32, &str>| {
            let looked = reload.look(seen.map_err(str::to_owned), |new| match new {
                7 => Err("seven".to_owned()),
                _ => Ok(()),
            });
            looked.map(|Look { problem, count }| {
                (problem.map(|why| why.rsplit(": ").next().unwrap().to_owned()), count)
            })
        };
        let failed = |why: &str, count| Some((Some(why.to_owned()), count));
        let well = Some((None, None));
        for (seen, looked) in [
            (Ok(1), None),
            (Ok(1), well.clone()),
            (Ok(2), None),
            (Ok(3), None),
            (Ok(3), Some((None, Some(true)))),
            (Ok(3), well.clone()),
            (Ok(7), None),
            (Ok(7), failed("seven", Some(false))),
            (Ok(7), failed("seven", None)),
            (Err("gone"), None),
            (Err("gone"), failed("gone", Some(false))),
            (Err("gone"), failed("gone", None)),
            (Ok(3), None),
            (Ok(3), well.clone()),
            (Ok(7), None),
            (Ok(7), failed("seven", Some(false))),
        ] {
            assert_eq!(look(seen), looked, "{seen:?}");
        }
    }
}
