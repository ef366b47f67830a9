//! What goes wrong on purpose, and what was asked for.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use tokio::sync::watch;

use super::{
    kind::Asked,
    refusal::{Refusal, too_many_requests},
};
use crate::eventually;

/// The faults of a fake, and its count of requests.
#[derive(Debug)]
pub struct Faults {
    /// Even: it is up. Each change cuts all connections.
    pub(super) epoch: watch::Sender<u64>,
    pub(super) listening: AtomicBool,
    /// Each change cuts all watches.
    pub(super) watches: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: Vec<Failure>,
    delay: Duration,
    ahead: Duration,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Failure {
    user: String,
    path: String,
    left: usize,
    code: u16,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who sent it.
    pub user: String,
    /// As RBAC names it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// Without the query.
    pub path: String,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            epoch: watch::channel(0).0,
            listening: AtomicBool::new(false),
            watches: watch::channel(0).0,
            state: Mutex::default(),
        }
    }

    /// Cuts all connections and refuses new ones, or ends that. Returns when it is so.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn outage(&self, on: bool) {
        let is_on = |epoch: u64| epoch % 2 == 1;
        self.epoch.send_if_modified(|epoch| {
            let change = is_on(*epoch) != on;
            *epoch += u64::from(change);
            change
        });
        let done = || (self.listening.load(Ordering::SeqCst) != on).then_some(());
        eventually(|| format!("the outage to be {on}"), done);
    }

    /// Answers the next requests of a user whose path begins so with that status; 429 has a `Retry-After` of one
    /// second. Those that come are counted all the same.
    pub fn fail(&self, user: &str, path: &str, times: usize, code: u16) {
        let failure = Failure { user: user.to_owned(), path: path.to_owned(), left: times, code };
        self.state().failures.push(failure);
    }

    /// Breaks off all watches, without the end of their body.
    pub fn cut_watches(&self) {
        self.watches.send_modify(|epoch| *epoch += 1);
    }

    /// Does each request only after a while.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Puts the clock forward that answers are dated by.
    pub fn clock_ahead(&self, ahead: Duration) {
        self.state().ahead = ahead;
    }

    /// The clock, for `Date`.
    pub(super) fn date(&self) -> HeaderValue {
        let now = SystemTime::now() + self.state().ahead;
        HeaderValue::from_str(&httpdate::fmt_http_date(now)).expect("a date")
    }

    /// All requests of users so far. Those of [`Cluster::request`](super::Cluster::request) and the other helpers
    /// are the administrator's.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many requests there were of a user, with a verb, for a path.
    #[must_use]
    pub fn count(&self, user: &str, verb: &str, path: &str) -> usize {
        let wanted = |seen: &&Seen| seen.user == user && seen.verb == verb && seen.path == path;
        self.state().seen.iter().filter(wanted).count()
    }

    /// How many requests of a user were to change something.
    #[must_use]
    pub fn writes(&self, user: &str) -> usize {
        let reads = ["get", "list", "watch"];
        self.state().seen.iter().filter(|seen| seen.user == user && !reads.contains(&seen.verb)).count()
    }

    /// Counts a request; the delay and the failure that it shall meet.
    pub(super) fn meet(&self, user: &str, asked: &Asked, path: &str) -> (Duration, Option<Response>) {
        let mut state = self.state();
        state.seen.push(Seen { user: user.to_owned(), verb: asked.verb, path: path.to_owned() });
        let mut failures = state.failures.iter_mut();
        let failure = failures.find(|one| one.left > 0 && one.user == user && path.starts_with(&one.path));
        let answer = failure.map(|failure| {
            failure.left -= 1;
            match failure.code {
                429 => too_many_requests(),
                code => Refusal::fault(code).into_response(),
            }
        });
        (state.delay, answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with it")
    }
}
