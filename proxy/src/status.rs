//! What the health pages tell.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use common::{
    reload::Problem,
    zpages::{self, Check, Flagz, Subject},
};
use prometheus_client::registry::Registry;

use crate::{
    cli::Config,
    endpoint::Endpoint,
    metrics,
    shared::{Phase, Shared},
};

/// Endpoints that a page names at most.
const MOST_NAMED: usize = 20;

/// What is known of the program as a whole.
#[derive(Debug)]
pub struct Status {
    shared: Arc<Shared>,
    listening: String,
    accepting: AtomicBool,
    /// What is wrong with the file of `--config`.
    pub file: Problem,
    registry: Registry,
    config: Arc<ArcSwap<Config>>,
}

impl Status {
    /// Listening on these, and not accepting yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, config: Arc<ArcSwap<Config>>, listening: &[SocketAddr]) -> Self {
        let listening: Vec<String> = listening.iter().map(ToString::to_string).collect();
        Self {
            listening: listening.join(", "),
            accepting: AtomicBool::new(false),
            file: Problem::none("configuration"),
            registry: metrics::registry(Arc::clone(&shared)),
            shared,
            config,
        }
    }

    /// From now on connections are accepted.
    pub fn accepting(&self) {
        self.accepting.store(true, Ordering::Relaxed);
    }

    fn endpoints(&self) -> Check {
        const NAME: &str = "endpoints";
        let endpoints = self.shared.endpoints.load();
        let all = endpoints.all();
        let bad: Vec<_> = all.iter().filter(|one| !one.is_healthy()).collect();
        if all.is_empty() {
            return Check::failed(NAME, "none is known");
        }
        if !self.shared.has_answered() {
            return Check::failed(NAME, format!("no endpoint has answered yet, of {}", named(all)));
        }
        let count = all.len();
        let healthy = count - bad.len();
        if bad.is_empty() {
            return Check::ok(NAME, format!("{healthy} of {count} healthy"));
        }
        Check::note(NAME, format!("{healthy} of {count} healthy; not {}", named(bad)))
    }
}

/// Some of them, for a line.
fn named<'a>(endpoints: impl IntoIterator<Item = &'a Arc<Endpoint>>) -> String {
    let named = endpoints.into_iter().take(MOST_NAMED).map(|endpoint| endpoint.address.to_string());
    named.collect::<Vec<_>>().join(", ")
}

impl Subject for Status {
    fn checks(&self) -> Vec<Check> {
        let listening = match self.accepting.load(Ordering::Relaxed) {
            true => Check::ok("listening", &self.listening),
            false => Check::failed("listening", format!("not accepting yet on {}", self.listening)),
        };
        let mut checks = vec![listening, self.endpoints()];
        checks.push(match self.file.now() {
            Some(problem) => Check::note("configuration", problem),
            None => Check::ok("configuration", ""),
        });
        if *self.shared.phase.borrow() != Phase::Serving {
            let open = self.shared.open();
            checks.push(Check::failed("shutdown", format!("stopping; {open} connections are open")));
        }
        checks
    }

    fn metrics(&self) -> String {
        zpages::encode(&self.registry)
    }

    fn flagz(&self) -> Option<Flagz> {
        Some(self.config.load().flagz.clone())
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let endpoints = self.shared.endpoints.load();
        let mut lines = vec![
            ("Listening", self.listening.clone()),
            ("Connections", self.shared.open().to_string()),
            ("Threads", self.shared.desks.len().to_string()),
            ("Endpoints", endpoints.all().len().to_string()),
        ];
        lines.extend(endpoints.all().iter().take(MOST_NAMED).map(|endpoint| {
            let state = match (endpoint.is_healthy(), endpoint.refuses()) {
                (true, _) if endpoint.is_suspected() => "healthy, suspected",
                (true, _) => "healthy",
                (false, false) => "not healthy",
                (false, true) => "not healthy, refuses connections",
            };
            ("Endpoint", format!("{} {state}, {} connections", endpoint.address, endpoint.open()))
        }));
        lines
    }
}
