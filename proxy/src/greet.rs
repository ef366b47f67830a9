//! What comes before a connection's own bytes, said to an upstream.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::protocol::{
    Protocol,
    connect::{Answer, LONGEST_HEAD, answer},
};

/// Why an upstream was not won over.
#[derive(Debug, thiserror::Error)]
pub enum NotGreeted {
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// It said no.
    #[error("CONNECT was answered by {0}")]
    Refused(u16),
    /// It said nothing.
    #[error("CONNECT was answered by an end")]
    Ended,
    /// It speaks something else.
    #[error("CONNECT was not answered in HTTP")]
    Malformed,
}

/// Says what comes before the connection's own bytes, and hears the answer if there is one to come. Returns what came
/// after that.
///
/// # Errors
/// When there will be no connection through it; never in time for its own.
pub async fn greet(
    upstream: &mut TcpStream,
    greeting: &[u8],
    protocol: &Protocol,
) -> Result<Vec<u8>, NotGreeted> {
    upstream.write_all(greeting).await?;
    let Protocol::HttpConnect(_) = protocol else { return Ok(Vec::new()) };
    let mut head = Vec::with_capacity(256);
    loop {
        let mut more = upstream.take((LONGEST_HEAD - head.len()) as u64 + 1);
        if more.read_buf(&mut head).await? == 0 {
            return Err(NotGreeted::Ended);
        }
        match answer(&head) {
            Answer::Partial if head.len() <= LONGEST_HEAD => {}
            Answer::Open(length) => return Ok(head.split_off(length)),
            Answer::Refused(status) => return Err(NotGreeted::Refused(status)),
            Answer::Partial | Answer::Malformed => return Err(NotGreeted::Malformed),
        }
    }
}
