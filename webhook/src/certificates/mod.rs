//! The certificate in use, and its replacement while the server runs.
//!
//! New connections get the newest, those that are there keep theirs. What is broken or out of its time never takes
//! the place of what works.

mod files;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::sync::Notify;

pub use self::files::{Files, FilesError, Watched};
use crate::{
    reload::Problem,
    tls::{BadMaterial, Identity, Material, Validity, configuration},
};

/// The configuration that new connections get.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwapOption<(Arc<ServerConfig>, Identity)>,
    /// Told when there is one.
    there: Notify,
    /// What is wrong with its replacement, or with the certificate in use.
    problem: Problem,
}

impl Certificates {
    /// None yet.
    #[must_use]
    pub fn none() -> Self {
        Self { current: ArcSwapOption::empty(), there: Notify::new(), problem: Problem::none("certificate") }
    }

    /// The first one.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn new(material: &Material) -> Result<Self, BadMaterial> {
        let certificates = Self::none();
        certificates.show(configuration(material)?);
        Ok(certificates)
    }

    fn show(&self, (config, identity): (Arc<ServerConfig>, Identity)) {
        match self.current.load().is_some() {
            true => tracing::info!(%identity, "certificate replaced"),
            false => tracing::info!(%identity, "certificate loaded"),
        }
        self.current.store(Some(Arc::new((config, identity))));
        self.there.notify_one();
    }

    /// Waits until there is one. For one who waits.
    pub async fn is_there(&self) {
        if self.current.load().is_none() {
            self.there.notified().await;
        }
    }

    /// For a new connection; none before there is one.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.current.load().as_ref().map(|current| Arc::clone(&current.0))
    }

    /// For a person: what is in use, and what is wrong, if something is.
    #[must_use]
    pub fn describe(&self) -> (Option<Identity>, Option<String>) {
        (self.current.load().as_ref().map(|current| current.1.clone()), self.problem.now())
    }

    /// Until the certificate in use expires; negative since it has, and 0 where there is none.
    #[must_use]
    pub fn seconds_left(&self) -> i64 {
        self.current.load().as_ref().map_or(0, |current| current.1.seconds_left(seconds_since_1970()))
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
        if let Some(current) = self.current.load().as_ref() {
            permit(&identity, &current.1)?;
        }
        self.show((config, identity));
        Ok(())
    }

    /// Looks at the clock.
    ///
    /// # Errors
    /// When the certificate in use is out of its time.
    pub fn in_its_time(&self) -> Result<(), String> {
        let validity = self.current.load().as_ref().map(|current| current.1.validity(seconds_since_1970()));
        match validity {
            None | Some(Validity::Now) => Ok(()),
            Some(validity) => {
                Err(format!("the certificate {validity}, no API server accepts it; is the clock right?"))
            }
        }
    }

    /// Keeps what is wrong for who asks, and tells it.
    pub fn tell(&self, problem: Option<String>) {
        self.problem.tell(problem);
    }
}

/// The clock.
#[must_use]
pub fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}
