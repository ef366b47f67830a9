//! The certificate in use, and its replacement while the server runs.
//!
//! New connections get the newest, those that are there keep theirs. What is broken or out of its time never takes
//! the place of what works.

mod files;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

pub use self::files::{Files, FilesError, Watched};
use crate::tls::{BadMaterial, Identity, Material, Validity, configuration};

/// The configuration that new connections get.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<(Arc<ServerConfig>, Identity)>,
    /// What is wrong with its replacement, or with the certificate in use.
    problem: Mutex<Option<String>>,
}

impl Certificates {
    /// The first one.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn new(material: &Material) -> Result<Self, BadMaterial> {
        let (config, identity) = configuration(material)?;
        tracing::info!(%identity, "certificate loaded");
        Ok(Self { current: ArcSwap::from_pointee((config, identity)), problem: Mutex::new(None) })
    }

    /// For a new connection.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().0)
    }

    /// For a person: what is in use, and what is wrong, if something is.
    #[must_use]
    pub fn describe(&self) -> (Identity, Option<String>) {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.current.load().1.clone(), problem)
    }

    /// Until the certificate in use expires; negative since it has.
    #[must_use]
    pub fn seconds_left(&self) -> i64 {
        self.current.load().1.seconds_left(seconds_since_1970())
    }

    /// Takes a new one into use. What `permit` says no to is not: it is shown who the new one is, and the one in use.
    ///
    /// # Errors
    /// Why the one in use stays.
    pub fn replace(
        &self,
        material: &Material,
        permit: impl FnOnce(&Identity, &Identity) -> Result<(), String>,
    ) -> Result<(), String> {
        let (config, identity) = configuration(material).map_err(|cause| cause.to_string())?;
        permit(&identity, &self.current.load().1)?;
        tracing::info!(%identity, "certificate replaced");
        self.current.store(Arc::new((config, identity)));
        Ok(())
    }

    /// Looks at the clock.
    ///
    /// # Errors
    /// When the certificate in use is out of its time.
    pub fn in_its_time(&self) -> Result<(), String> {
        match self.current.load().1.validity(seconds_since_1970()) {
            Validity::Now => Ok(()),
            validity => {
                Err(format!("the certificate {validity}, no API server accepts it; is the clock right?"))
            }
        }
    }

    /// Keeps what is wrong for who asks, and writes it to the log, once, and once that it is over.
    pub fn tell(&self, problem: Option<String>) {
        let mut told = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if problem == *told {
            return;
        }
        match &problem {
            Some(problem) => tracing::error!("certificate: {problem}"),
            None => tracing::info!("certificate: all is well again"),
        }
        *told = problem;
    }
}

/// The clock.
#[must_use]
pub fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}
