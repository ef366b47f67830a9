//! Where the endpoints come from: upstreams by address, by name, and those that are discovered.
//!
//! Each name is asked for as its TTL says, and a source that fails keeps what it said last: an endpoint that may be gone
//! is found out by its checks, one that was forgotten by nobody. So a set never becomes empty for want of answers.

pub mod dns;
pub mod files;
pub mod known;
pub mod local;
pub mod merge;

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    fmt::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::{
    known::{Known, Looked, News},
    merge::{Merged, difference, merge},
};
use crate::{
    discover::Discovery,
    shared::{Shared, changed},
    upstream::{Host, Upstream},
};

/// How often it is looked whether an address has become our own, where we listen on all.
const LOCAL_LOOKS: Duration = Duration::from_secs(30);
/// Addresses in a line of the log.
const SHOWN: usize = 16;

/// Where endpoints come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `--upstream`
    pub upstreams: Vec<Upstream>,
    /// `--discover`
    pub discover: bool,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// Where we listen.
    pub own: Vec<SocketAddr>,
}

/// Keeps the endpoints what the sources say, for as long as it is polled.
pub async fn keep(shared: Arc<Shared>, mut sources: watch::Receiver<Sources>) -> Infallible {
    let mut keeper = Keeper::new(shared);
    keeper.change(sources.borrow_and_update().clone());
    loop {
        keeper.begin();
        keeper.merge();
        let due = keeper.due();
        tokio::select! {
            Some(Ok((name, looked))) = keeper.lookups.join_next() => keeper.take(name, looked),
            () = keeper.discovery.changed() => {}
            () = changed(&mut sources) => keeper.change(sources.borrow_and_update().clone()),
            () = sleep_until(due) => {}
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    sources: Sources,
    names: HashMap<String, Name>,
    lookups: JoinSet<(String, Looked)>,
    discovery: Discovery,
    /// Of what is left out this has been told.
    told: Merged,
}

struct Name {
    known: Known,
    /// None while it is asked for.
    due: Option<Instant>,
}

impl Keeper {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            sources: Sources::default(),
            names: HashMap::new(),
            lookups: JoinSet::new(),
            discovery: Discovery::default(),
            told: Merged::default(),
        }
    }

    /// Takes other sources. What is known of those that stay stays known.
    fn change(&mut self, sources: Sources) {
        let wanted: BTreeSet<&String> = sources
            .upstreams
            .iter()
            .filter_map(|upstream| match &upstream.host {
                Host::Name(name) => Some(name),
                Host::Address(_) => None,
            })
            .collect();
        self.names.retain(|name, _| wanted.contains(name));
        for name in wanted {
            let new = || Name { known: Known::default(), due: Some(Instant::now()) };
            self.names.entry(name.clone()).or_insert_with(new);
        }
        self.discovery.change(&self.shared, &sources);
        self.sources = sources;
    }

    /// Asks for the names whose time has come.
    fn begin(&mut self) {
        let now = Instant::now();
        for (name, entry) in &mut self.names {
            if entry.due.is_some_and(|due| due <= now) {
                entry.due = None;
                let name = name.clone();
                self.lookups.spawn(async move {
                    let looked = dns::look_up(&name).await;
                    (name, looked)
                });
            }
        }
    }

    /// When something is to be done, whatever happens.
    fn due(&self) -> Instant {
        let names = self.names.values().filter_map(|name| name.due).min();
        let looks = Instant::now() + LOCAL_LOOKS;
        names.map_or(looks, |due| due.min(looks))
    }

    fn take(&mut self, name: String, looked: Looked) {
        // It may have been taken out, and put in again, while it was asked for.
        let Some(entry) = self.names.get_mut(&name) else { return };
        let (mut again, news) = entry.known.take(looked);
        if entry.known.is_in_trouble() {
            // Not all nodes at once.
            again = again.mul_f64(0.5 + fastrand::f64());
        }
        entry.due = Some(Instant::now() + again);
        match news {
            None => {}
            Some(News::Well) => tracing::info!(name, "DNS answers again"),
            Some(News::Gone) => {
                tracing::warn!(name, "DNS has no address for it; if it had some before, they stay in use");
            }
            Some(News::Failing(error)) => {
                tracing::warn!(name, error, "DNS fails; addresses that are known stay in use");
            }
        }
    }

    /// Everything that the sources say.
    fn found(&self) -> Vec<SocketAddr> {
        let mut found = self.discovery.found();
        for Upstream { host, port } in &self.sources.upstreams {
            match host {
                Host::Address(address) => found.push((*address, *port).into()),
                Host::Name(name) => {
                    let known = self.names.get(name).into_iter().flat_map(|name| name.known.addresses());
                    found.extend(known.map(|address| SocketAddr::new(address, *port)));
                }
            }
        }
        found
    }

    fn merge(&mut self) {
        let found = self.found();
        // Nobody has said anything yet, or what was said before is meant to stay.
        if found.is_empty() {
            return;
        }
        let merged = merge(found, &self.sources.own, local::is_local);
        self.tell(&merged);
        let before = self.shared.endpoints.load_full();
        let known = before.all().iter().map(|endpoint| endpoint.address).collect();
        let (added, removed) = difference(&known, &merged.endpoints);
        if !added.is_empty() || !removed.is_empty() {
            tracing::info!(
                added = shown(&added),
                removed = shown(&removed),
                now = merged.endpoints.len(),
                "endpoints changed"
            );
            self.shared.replace_endpoints(before.update(merged.endpoints.iter().copied()));
        }
        self.told = merged;
    }

    /// Says what is left out, once.
    fn tell(&self, merged: &Merged) {
        let new =
            |now: &BTreeSet<_>, before: &BTreeSet<_>| now.difference(before).copied().collect::<Vec<_>>();
        let own = new(&merged.own, &self.told.own);
        if !own.is_empty() {
            tracing::warn!(
                addresses = shown(&own),
                "not used as an endpoint: this program listens there itself"
            );
        }
        let useless = new(&merged.useless, &self.told.useless);
        if !useless.is_empty() {
            tracing::warn!(
                addresses = shown(&useless),
                "not used as an endpoint: no API server can be reached at such an address"
            );
        }
        if merged.cut > 0 && self.told.cut == 0 {
            tracing::warn!(
                left_out = merged.cut,
                "more than {} endpoints: the last ones are not used; is the name the right one?",
                merge::MOST
            );
        }
    }
}

/// Addresses for a line of the log.
fn shown(addresses: &[SocketAddr]) -> String {
    let mut text = addresses.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(",");
    if addresses.len() > SHOWN {
        let _ = write!(text, " and {} more", addresses.len() - SHOWN);
    }
    text
}
