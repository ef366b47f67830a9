//! The objects of the fake, with one counter of versions for all, and what happened to them.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    kind::Kind,
    object::{self, name_of},
    refusal::Refusal,
};

/// How many events are kept for watches that begin in the past.
const HISTORY: usize = 1000;

/// Resource, namespace, name: listed in the order of the real one's keys.
type Key = (&'static str, String, String);

/// Something that happened to an object.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    /// ADDED, MODIFIED, DELETED
    pub(super) what: &'static str,
    key: Key,
    /// As it was after that; of a deleted one, as it last was, with the deletion's version.
    pub(super) object: Value,
}

#[derive(Debug)]
pub(super) struct Store {
    objects: BTreeMap<Key, Value>,
    history: VecDeque<Event>,
    /// The version of the last change.
    version: u64,
    /// A watch may begin here, and not before.
    oldest: u64,
    /// Tells watches of each change.
    changed: watch::Sender<u64>,
}

impl Store {
    /// One with the namespaces that a new API server makes.
    pub(super) fn new() -> Self {
        let mut store = Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            version: 1,
            oldest: 1,
            changed: watch::channel(0).0,
        };
        let kind = Kind::of("namespaces").expect("a kind of ours");
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            store.create(kind, "", &json!({"metadata": {"name": name}})).expect("a good namespace");
        }
        store
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Those of a namespace (empty: of all, or of none) with that name (empty: all).
    pub(super) fn list(&self, kind: &Kind, namespace: &str, name: &str) -> Vec<&Value> {
        self.objects
            .iter()
            .filter(|(key, _)| within(key, kind, namespace, name))
            .map(|(_, object)| object)
            .collect()
    }

    pub(super) fn find(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&key(kind, namespace, name))
    }

    pub(super) fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value, Refusal> {
        self.find(kind, namespace, name).cloned().ok_or_else(|| Refusal::not_found(kind, name))
    }

    pub(super) fn create(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        body: &Value,
    ) -> Result<Value, Refusal> {
        let mut object = object::decode(kind, namespace, body)?;
        let spaces = Kind::of("namespaces").expect("a kind of ours");
        if kind.namespaced && self.find(spaces, "", namespace).is_none() {
            return Err(Refusal::not_found(spaces, namespace));
        }
        object::begin(kind, &mut object)?;
        let key = key(kind, namespace, name_of(&object));
        if self.objects.contains_key(&key) {
            return Err(Refusal::already_exists(kind, name_of(&object)));
        }
        Ok(self.keep("ADDED", key, object))
    }

    /// Replaces one. What changes nothing keeps its version and is no event.
    pub(super) fn update(
        &mut self,
        kind: &'static Kind,
        (namespace, name): (&str, &str),
        body: &Value,
    ) -> Result<Value, Refusal> {
        let mut object = object::decode(kind, namespace, body)?;
        match name_of(&object) {
            sent if sent == name => {}
            "" => {
                return Err(Refusal::bad_request(format!(
                    "the name of the object ({name} based on URL) was undeterminable: name must be provided"
                )));
            }
            sent => {
                return Err(Refusal::bad_request(format!(
                    "the name of the object ({sent}) does not match the name on the URL ({name})"
                )));
            }
        }
        let old = self.get(kind, namespace, name)?;
        object::follow(kind, &mut object, &old)?;
        if object == old {
            return Ok(old);
        }
        Ok(self.keep("MODIFIED", key(kind, namespace, name), object))
    }

    pub(super) fn delete(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Value, Refusal> {
        let old = self.get(kind, namespace, name)?;
        Ok(self.keep("DELETED", key(kind, namespace, name), old))
    }

    fn keep(&mut self, what: &'static str, key: Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if what == "DELETED" {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key.clone(), object.clone());
        }
        self.history.push_back(Event { version: self.version, what, key, object: object.clone() });
        if self.history.len() > HISTORY {
            self.oldest = self.history.pop_front().map_or(self.oldest, |event| event.version);
        }
        self.changed.send_replace(self.version);
        object
    }

    /// Forgets all that happened, as the real one does when it restarts.
    pub(super) fn forget(&mut self) {
        self.history.clear();
        self.oldest = self.version;
    }

    /// What happened to these after that version; an error where that is too long ago.
    pub(super) fn since(
        &self,
        version: u64,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<&Event>, Refusal> {
        if version < self.oldest {
            return Err(Refusal::expired(version, self.oldest));
        }
        let later = self.history.iter().filter(|event| event.version > version);
        Ok(later.filter(|event| within(&event.key, kind, namespace, name)).collect())
    }
}

fn key(kind: &'static Kind, namespace: &str, name: &str) -> Key {
    let namespace = if kind.namespaced { namespace } else { "" };
    (kind.resource, namespace.to_owned(), name.to_owned())
}

fn within((resource, space, this): &Key, kind: &Kind, namespace: &str, name: &str) -> bool {
    let placed = !kind.namespaced || namespace.is_empty() || space == namespace;
    *resource == kind.resource && placed && (name.is_empty() || this == name)
}
