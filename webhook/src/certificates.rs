//! The certificate in use, and its replacement while the server runs.
//!
//! Files are read again every two seconds and compared by content: kubelet swaps a symlink to replace them, and
//! a watch on the file itself goes silent after that. What is broken, or half replaced, leaves the last good
//! set in use.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use crate::tls::{BadMaterial, Identity, Material, configuration};

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(2);

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `--cert-dir` and `--cert-name`
    pub certificate: PathBuf,
    /// `--cert-dir` and `--key-name`
    pub key: PathBuf,
    /// `--cert-dir` and `--client-ca-name`
    pub client_ca: Option<PathBuf>,
}

/// Why there is no certificate to use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The files can't be used.
    #[error("{files}: {cause}")]
    Bad {
        /// The files.
        files: Files,
        /// Why not.
        cause: BadMaterial,
    },
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.certificate.display(), self.key.display())?;
        self.client_ca.as_ref().map_or(Ok(()), |path| write!(f, " and {}", path.display()))
    }
}

impl Files {
    async fn read(&self) -> Result<Material, CertificateError> {
        let client_ca = match &self.client_ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        Ok(Material { certificate: read(&self.certificate).await?, key: read(&self.key).await?, client_ca })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    tokio::fs::read(path).await.map_err(|cause| CertificateError::Read { path: path.to_owned(), cause })
}

/// The configuration that new connections get.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<(Arc<ServerConfig>, Identity)>,
    /// Why the files as they are now are not in use.
    problem: Mutex<Option<String>>,
    source: Option<(Files, Mutex<Material>)>,
}

impl Certificates {
    /// From files, which will be watched by [`Certificates::watch`].
    ///
    /// # Errors
    /// When they can't be read or used.
    pub async fn from_files(files: Files) -> Result<Self, CertificateError> {
        let material = files.read().await?;
        let used = configuration(&material);
        let (config, identity) =
            used.map_err(|cause| CertificateError::Bad { files: files.clone(), cause })?;
        tell("certificate loaded", &identity);
        Ok(Self { source: Some((files, Mutex::new(material))), ..Self::of(config, identity) })
    }

    /// From memory; stays as it is.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn from_memory(material: &Material) -> Result<Self, BadMaterial> {
        configuration(material).map(|(config, identity)| Self::of(config, identity))
    }

    fn of(config: Arc<ServerConfig>, identity: Identity) -> Self {
        Self { current: ArcSwap::from_pointee((config, identity)), problem: Mutex::new(None), source: None }
    }

    /// For a new connection.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().0)
    }

    /// For a person: what is in use, and why the files are not, if so.
    #[must_use]
    pub fn describe(&self) -> (Identity, Option<String>) {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.current.load().1.clone(), problem)
    }

    /// Looks at the files for as long as it is polled.
    pub async fn watch(&self) {
        let Some((files, seen)) = &self.source else { return std::future::pending().await };
        loop {
            tokio::time::sleep(INTERVAL).await;
            let problem = match files.read().await {
                Ok(material) => match self.offer(&material, seen) {
                    Some(outcome) => outcome.err().map(|cause| format!("{files}: {cause}")),
                    None => continue,
                },
                Err(error) => Some(error.to_string()),
            };
            let mut told = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
            if problem != *told {
                if let Some(problem) = &problem {
                    tracing::error!(problem, "certificate not replaced, the last good one stays in use");
                }
                *told = problem;
            }
        }
    }

    /// Takes new files into use. Nothing, where they are the ones in use and nothing was wrong before.
    fn offer(&self, material: &Material, seen: &Mutex<Material>) -> Option<Result<(), BadMaterial>> {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let troubled = self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if *seen == *material {
            // Back to what is in use: that ends any trouble.
            return troubled.then_some(Ok(()));
        }
        Some(configuration(material).map(|(config, identity)| {
            tell("certificate replaced", &identity);
            self.current.store(Arc::new((config, identity)));
            *seen = material.clone();
        }))
    }
}

fn tell(what: &str, identity: &Identity) {
    tracing::info!(%identity, "{what}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if now > identity.not_after {
        tracing::warn!(%identity, "this certificate has expired, an API server will not accept it");
    } else if now < identity.not_before {
        tracing::warn!(%identity, "this certificate is not valid yet; is the clock right?");
    }
}
