//! The tests' own client of an API server.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use serde_json::Value;

use super::{ADMINISTRATOR, Cluster, token};
use crate::{
    eventually,
    https::{Answer, Connection},
};

impl Cluster {
    /// Asks as the administrator; the status and the body, which is a string where it is no JSON. A PATCH with a
    /// list is a JSON patch, with an object a merge patch.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.request_as(ADMINISTRATOR, method, path, body)
    }

    /// The same as a user; without a token as `""`.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn request_as(&self, user: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        request(&self.trust, self.address(), user, method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Begins a watch as a user; the path has the query, with `watch=true`.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn watch(&self, user: &str, path: &str) -> Watch {
        Watch::begin(&self.trust, self.address(), user, path)
            .unwrap_or_else(|error| panic!("watch {path}: {error}"))
    }

    /// Makes an object in a collection; as it is then.
    ///
    /// # Panics
    /// When it can't be made; so for the others.
    pub fn create(&self, path: &str, object: &Value) -> Value {
        self.done("POST", path, Some(object))
    }

    /// Reads an object or a collection.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        self.done("GET", path, None)
    }

    /// Replaces an object.
    ///
    /// # Panics
    /// When that is refused.
    pub fn replace(&self, path: &str, object: &Value) -> Value {
        self.done("PUT", path, Some(object))
    }

    /// Reads an object, changes it and writes it back, until no one else did meanwhile.
    ///
    /// # Panics
    /// When that is refused for another reason.
    pub fn change(&self, path: &str, change: impl Fn(&mut Value)) -> Value {
        let attempt = || {
            let mut object = self.get(path);
            change(&mut object);
            let (status, answer) = self.request("PUT", path, Some(&object));
            assert!(matches!(status, 200 | 409), "PUT {path}: {status} {answer}");
            (status == 200).then_some(answer)
        };
        eventually(|| format!("a change of {path}"), attempt)
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When that is refused.
    pub fn delete(&self, path: &str) {
        self.done("DELETE", path, None);
    }

    fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.request(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }
}

/// One request on a connection of its own.
pub(super) fn request(
    trust: &Arc<ClientConfig>,
    address: SocketAddr,
    user: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> io::Result<(u16, Value)> {
    let media = match (method, body) {
        ("PATCH", Some(Value::Array(_))) => "application/json-patch+json",
        ("PATCH", _) => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!("Content-Type: {media}\r\nContent-Length: {}\r\n", body.len());
    let mut connection = Connection::open(trust, address)?;
    connection.send(format!("{}{head}\r\n{body}", request_head(user, method, path)).as_bytes())?;
    let Answer { status, body, .. } = connection.finish()?;
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
}

fn request_head(user: &str, method: &str, path: &str) -> String {
    let authorization = match user {
        "" => String::new(),
        user => format!("Authorization: Bearer {}\r\n", token(user)),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n{authorization}")
}

/// A watch: its events, one after the other. It ends with the watch, or when it is cut.
#[derive(Debug)]
pub struct Watch {
    connection: Connection,
    read: Vec<u8>,
}

impl Watch {
    pub(super) fn begin(
        trust: &Arc<ClientConfig>,
        address: SocketAddr,
        user: &str,
        path: &str,
    ) -> io::Result<Self> {
        let mut connection = Connection::open(trust, address)?;
        connection.send(format!("{}\r\n", request_head(user, "GET", path)).as_bytes())?;
        let (status, headers) = connection.head()?;
        if status != 200 {
            let body = connection.body(&headers)?;
            return Err(io::Error::other(format!("{status} {}", String::from_utf8_lossy(&body))));
        }
        Ok(Self { connection, read: Vec::new() })
    }
}

impl Iterator for Watch {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            // A chunk may hold several lines, or a part of one.
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            let chunk = self.connection.chunk().ok().filter(|chunk| !chunk.is_empty())?;
            self.read.extend(chunk);
        }
    }
}
