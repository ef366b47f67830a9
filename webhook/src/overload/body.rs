//! A request's body, read as there is memory for it.

use std::pin::pin;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::Instant;

use super::memory::{Memory, Share};
use crate::status::Refusal;

/// Longest body, in bytes, that is read while its request waits: such a one is in the connection's buffer already,
/// or fits it.
const EARLY: usize = 8 * 1024;

/// What a request has come to: whom to blame when its time is up.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// The wait for a slot.
    Slot,
    /// The wait for memory.
    Memory,
    /// The wait for what the client sends.
    Body,
}

/// What came of a body before its request had a slot.
#[derive(Debug, Default)]
pub struct Early {
    bytes: Vec<u8>,
    ended: bool,
}

impl Early {
    /// Reads a small body during a wait: hyper tells that an HTTP/1.1 client has gone only once it has read all
    /// that came before, and whoever has gone should not keep its place. A long one stays where it is: nothing has
    /// been set aside for it.
    ///
    /// # Errors
    /// Those of the wait; and when the body breaks off, or is longer than it was said to be.
    pub async fn while_waiting<T>(
        &mut self,
        wait: impl Future<Output = Result<T, Refusal>>,
        body: &mut Body,
        length: Option<usize>,
    ) -> Result<T, Refusal> {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                done = wait.as_mut() => return done,
                frame = body.frame(), if !self.ended && length.is_some_and(|length| length <= EARLY) => match frame {
                    Some(frame) => append(&mut self.bytes, frame, EARLY)?,
                    None => self.ended = true,
                },
            }
        }
    }
}

/// Reads the rest of a body that is not longer than `longest`, as far as there is memory for it.
///
/// # Errors
/// When the body breaks off, is too long, or comes too slowly while others wait for its memory.
pub async fn read(
    memory: &Memory,
    body: &mut Body,
    early: Early,
    longest: usize,
    step: &mut Step,
) -> Result<(Vec<u8>, Share), Refusal> {
    let (Early { mut bytes, ended }, mut share) = (early, Share::default());
    *step = Step::Memory;
    memory.grow(&mut share, bytes.len(), longest).await?;
    *step = Step::Body;
    while !ended && let Some(frame) = in_time(body.frame(), share.until()).await? {
        let length = bytes.len() + frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
        *step = Step::Memory;
        memory.grow(&mut share, length, longest).await?;
        *step = Step::Body;
        bytes.reserve_exact(share.room().saturating_sub(bytes.len()));
        append(&mut bytes, frame, longest)?;
    }
    Ok((bytes, share))
}

/// Waits for what comes next of a body, until it has to be there.
async fn in_time<T>(next: impl Future<Output = T>, until: Option<Instant>) -> Result<T, Refusal> {
    match until {
        None => Ok(next.await),
        Some(until) => tokio::time::timeout_at(until, next).await.map_err(|_| Refusal::dawdled()),
    }
}

/// Copies out of a frame: one of a single byte would keep a whole read buffer.
fn append(
    bytes: &mut Vec<u8>,
    frame: Result<Frame<Bytes>, axum::Error>,
    limit: usize,
) -> Result<(), Refusal> {
    let frame = frame.map_err(|error| Refusal::broken_off(&error))?;
    let data = frame.data_ref().map(|data| data.as_ref()).unwrap_or_default();
    if data.len() > limit - bytes.len() {
        return Err(Refusal::too_large(limit));
    }
    bytes.extend_from_slice(data);
    Ok(())
}
