//! An object that is kept as it should be, and what happens if somebody else wants it otherwise.

use std::time::{Duration, Instant};

use common::contention::{Contention, Told};
use serde_json::Value;

use super::objects::{ApiError, Object, WATCH_TIME};

/// The time between two looks where the API server does not tell of changes.
const POLL_TIME: Duration = Duration::from_secs(10);

/// An object, and the fight over it.
#[derive(Debug)]
pub struct Kept {
    /// Where it is.
    pub object: Object,
    fight: Contention,
    /// For who is fighting.
    advice: &'static str,
}

/// Why an object was not written.
#[derive(Debug)]
pub enum NotPut {
    /// Somebody keeps changing it back; not again before that time.
    Held(Duration),
    /// Somebody else has written it since it was read.
    Overtaken,
    /// It can't be written.
    Failed(String),
}

impl Kept {
    /// `advice` is for a person who finds out that something changes it back.
    pub fn new(object: Object, advice: &'static str) -> Self {
        Self { object, fight: Contention::new(WATCH_TIME), advice }
    }

    /// Writes it.
    pub async fn put(&mut self, wanted: &Value) -> Result<Value, NotPut> {
        let hold = self.fight.hold(Instant::now());
        if !hold.is_zero() {
            return Err(NotPut::Held(hold));
        }
        match self.object.replace(wanted).await {
            Ok(written) => {
                self.fight.healed(Instant::now());
                Ok(written)
            }
            Err(ApiError::Conflict) => Err(NotPut::Overtaken),
            Err(error) => Err(NotPut::Failed(self.cannot("write", &error))),
        }
    }

    /// Waits until it has another version than that; without one, until it is there. Where nothing can be said of
    /// changes, for a while.
    pub async fn changed(&self, version: Option<&str>) {
        if let Err(error) = self.object.changed(version).await {
            tracing::debug!(object = self.object.what(), %error, "no word of changes");
            tokio::time::sleep(POLL_TIME).await;
        }
    }

    /// Says when a fight begins and ends. What is wrong for as long as it lasts.
    pub fn fight(&mut self) -> Option<String> {
        let what = self.object.what();
        if self.fight.change(Instant::now()) == Some(Told::Ends) {
            tracing::info!("nobody changes {what} back any more");
        }
        self.fight.is_on().then(|| {
            format!(
                "somebody changes {what} back again and again, it is put right more and more rarely; {}",
                self.advice
            )
        })
    }

    /// An error in words.
    pub fn cannot(&self, verb: &str, error: &ApiError) -> String {
        let what = self.object.what();
        match error {
            ApiError::Refused { status: 403, .. } => {
                format!(
                    "cannot {verb} {what}: {error}; the permissions that it takes are in deploy/webhook.yaml"
                )
            }
            error => format!("cannot {verb} {what}: {error}"),
        }
    }
}
