//! The certificate in use, and its replacement while the server runs.
//!
//! Files are read again every second and compared by content: kubelet swaps a symlink to replace them, and a watch
//! on the file itself goes silent after that. What is new counts once it was read the same twice, so that files
//! that are still being written are left alone. What is broken or out of its time leaves the last good set in use.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::AsyncReadExt;

use crate::{
    metrics::Metrics,
    tls::{BadMaterial, Identity, Material, Validity, configuration},
};

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long reading them may take.
const READ_TIME: Duration = Duration::from_secs(5);
/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 1024 * 1024;

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
    let read = async {
        // Opening a pipe, for instance, would wait for its other end.
        let metadata = tokio::fs::metadata(path).await?;
        if !metadata.is_file() || metadata.len() > LONGEST_FILE {
            return Err(io::Error::other(format!("not a regular file of {LONGEST_FILE} bytes at most")));
        }
        let mut bytes = Vec::new();
        tokio::fs::File::open(path).await?.take(LONGEST_FILE).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", READ_TIME.as_secs()));
    let read = tokio::time::timeout(READ_TIME, read).await.unwrap_or_else(|_| Err(late()));
    read.map_err(|cause| CertificateError::Read { path: path.to_owned(), cause })
}

/// The configuration that new connections get.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<(Arc<ServerConfig>, Identity)>,
    /// What is wrong with the files as they are now, or with the certificate in use.
    problem: Mutex<Option<String>>,
    source: Option<(Files, Material)>,
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
        tracing::info!(%identity, "certificate loaded");
        Ok(Self { source: Some((files, material)), ..Self::of(config, identity) })
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

    /// Looks at the files, and at the clock, for as long as it is polled.
    pub async fn watch(&self, metrics: &Metrics) {
        let mut before = None;
        // Whether what was seen has been counted as a failure: it is tried again each time, and counts once.
        let mut counted = false;
        let mut in_use = self.source.as_ref().map(|(_, material)| material.clone());
        loop {
            let seen = match &self.source {
                Some((files, _)) => Some(files.read().await.map_err(|error| error.to_string())),
                None => None,
            };
            if seen == before {
                let replaced = match (&self.source, &seen) {
                    (Some((files, _)), Some(Ok(material))) if in_use.as_ref() != Some(material) => {
                        let replaced = self.replace(material).map_err(|why| format!("{files}: {why}"));
                        if replaced.is_ok() {
                            metrics.certificate_reloaded(true);
                            in_use = Some(material.clone());
                        }
                        replaced
                    }
                    (_, Some(Err(error))) => Err(error.clone()),
                    _ => Ok(()),
                };
                if replaced.is_err() && !std::mem::replace(&mut counted, true) {
                    metrics.certificate_reloaded(false);
                }
                let replaced =
                    replaced.map_err(|why| format!("not replaced, the last good one stays in use: {why}"));
                self.tell(replaced.and_then(|()| self.in_its_time()).err());
            } else {
                counted = false;
            }
            before = seen;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Takes new files into use. A certificate that works is not given up for one out of its time.
    fn replace(&self, material: &Material) -> Result<(), String> {
        let (config, identity) = configuration(material).map_err(|cause| cause.to_string())?;
        let now = seconds_since_1970();
        let (new, old) = (identity.validity(now), self.current.load().1.validity(now));
        if new != Validity::Now && old == Validity::Now {
            return Err(format!("the certificate {new}: {identity}"));
        }
        tracing::info!(%identity, "certificate replaced");
        self.current.store(Arc::new((config, identity)));
        Ok(())
    }

    fn in_its_time(&self) -> Result<(), String> {
        match self.current.load().1.validity(seconds_since_1970()) {
            Validity::Now => Ok(()),
            validity => {
                Err(format!("the certificate {validity}, no API server accepts it; is the clock right?"))
            }
        }
    }

    /// Writes what is wrong to the log, once, and once that it is over.
    fn tell(&self, problem: Option<String>) {
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

fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}
