//! Watches: a line of JSON an event, for as long as the client stays.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    fake::Shared,
    kind::{Asked, Kind},
    refusal::Refusal,
};

/// How often a watch that wants bookmarks gets one. The real one's minute is too long for a test.
const BOOKMARK: Duration = Duration::from_secs(1);
/// How long a watch lasts that does not say; the real one takes half an hour to an hour.
const LASTS: Duration = Duration::from_secs(1800);

struct Watching {
    shared: Arc<Shared>,
    kind: &'static Kind,
    asked: Asked,
    /// What the client has seen.
    version: u64,
    /// Lines that wait.
    first: Vec<Value>,
    until: Instant,
    bookmark: Instant,
    changed: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
    ended: bool,
}

/// Begins one. What is wrong with its version is told in an event, since the answer has begun.
pub(super) fn watch(shared: &Arc<Shared>, kind: &'static Kind, asked: Asked) -> Result<Response, Refusal> {
    let store = shared.store();
    let since = asked.since()?.unwrap_or(0);
    let lasts = asked.query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    let initial = asked.wants("sendInitialEvents");
    let mut first = Vec::new();
    if since == 0 || initial {
        let there = asked.selected(store.list(kind, &asked.namespace, &asked.name));
        first.extend(there.into_iter().map(|object| event("ADDED", object)));
    }
    if initial {
        let mut end = bookmark(kind, store.version());
        end["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        first.push(end);
    }
    let now = Instant::now();
    let watching = Watching {
        version: if since == 0 || initial { store.version() } else { since },
        first,
        until: now + lasts.map_or(LASTS, Duration::from_secs),
        bookmark: now + BOOKMARK,
        changed: store.changes(),
        cut: shared.faults.watches.subscribe(),
        ended: false,
        shared: Arc::clone(shared),
        kind,
        asked,
    };
    let body = Body::from_stream(stream::unfold(watching, next));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The next lines; none at the watch's end, an error where it is cut.
async fn next(mut watching: Watching) -> Option<(io::Result<Bytes>, Watching)> {
    while !watching.ended {
        let events = watching.look();
        if !events.is_empty() {
            let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
            return Some((Ok(Bytes::from(lines)), watching));
        }
        let until = watching.until;
        tokio::select! {
            _ = watching.changed.changed() => {}
            _ = watching.cut.changed() => {
                watching.ended = true;
                return Some((Err(io::ErrorKind::ConnectionReset.into()), watching));
            }
            () = tokio::time::sleep_until(watching.bookmark) => {
                watching.bookmark += BOOKMARK;
                if watching.asked.wants("allowWatchBookmarks") {
                    watching.first.push(bookmark(watching.kind, watching.version));
                }
            }
            () = tokio::time::sleep_until(until) => return None,
        }
    }
    None
}

impl Watching {
    /// What the client has not seen yet.
    fn look(&mut self) -> Vec<Value> {
        let mut events = std::mem::take(&mut self.first);
        let store = self.shared.store();
        match store.since(self.version, self.kind, &self.asked.namespace, &self.asked.name) {
            Ok(later) => {
                let asked = &self.asked;
                let later = later.into_iter().filter(|one| !asked.selected(vec![&one.object]).is_empty());
                events.extend(later.map(|one| event(one.what, &one.object)));
            }
            Err(refusal) => {
                events.push(event("ERROR", &refusal.status()));
                self.ended = true;
            }
        }
        self.version = self.version.max(store.version());
        events
    }
}

fn event(what: &str, object: &Value) -> Value {
    json!({"type": what, "object": object})
}

/// There is nothing to see up to that version.
fn bookmark(kind: &Kind, version: u64) -> Value {
    let metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    event("BOOKMARK", &json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata}))
}
