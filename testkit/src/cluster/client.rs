//! The tests' own client of an API server.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use serde_json::Value;

use super::token;
use crate::https::{Answer, Connection};

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
