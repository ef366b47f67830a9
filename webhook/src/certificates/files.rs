//! Certificates from files, and their replacement.
//!
//! Files are read again every second and compared by content: kubelet swaps a symlink to replace them, and a watch
//! on the file itself goes silent after that. What is new counts once it was read the same twice, so that files
//! that are still being written are left alone.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::io::AsyncReadExt;

use super::{Certificates, seconds_since_1970};
use crate::{
    metrics::Metrics,
    tls::{BadMaterial, Identity, Material, Validity},
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
pub enum FilesError {
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
    async fn read(&self) -> Result<Material, FilesError> {
        let client_ca = match &self.client_ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        Ok(Material { certificate: read(&self.certificate).await?, key: read(&self.key).await?, client_ca })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
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
    read.map_err(|cause| FilesError::Read { path: path.to_owned(), cause })
}

/// A certificate that works is not given up for one out of its time.
fn in_time(new: &Identity, old: &Identity) -> Result<(), String> {
    let now = seconds_since_1970();
    match new.validity(now) {
        Validity::Now => Ok(()),
        _ if old.validity(now) != Validity::Now => Ok(()),
        validity => Err(format!("the certificate {validity}: {new}")),
    }
}

/// Files of which a certificate was made, and what was in them.
#[derive(Debug)]
pub struct Watched {
    files: Files,
    in_use: Material,
}

impl Watched {
    /// Reads files, which [`Watched::watch`] then goes on with.
    ///
    /// # Errors
    /// When they can't be read or used.
    pub async fn load(files: Files) -> Result<(Certificates, Self), FilesError> {
        let in_use = files.read().await?;
        let certificates = Certificates::new(&in_use);
        let certificates = certificates.map_err(|cause| FilesError::Bad { files: files.clone(), cause })?;
        Ok((certificates, Self { files, in_use }))
    }

    /// Looks at the files, and at the clock, for as long as it is polled.
    pub async fn watch(mut self, certificates: &Certificates, metrics: &Metrics) {
        let mut before = None;
        // Whether what was seen has been counted as a failure: it is tried again each time, and counts once.
        let mut counted = false;
        loop {
            let seen = Some(self.files.read().await.map_err(|error| error.to_string()));
            if seen == before {
                let replaced = match &seen {
                    Some(Ok(material)) if self.in_use != *material => {
                        let replaced = certificates.replace(material, in_time);
                        let replaced = replaced.map_err(|why| format!("{}: {why}", self.files));
                        if replaced.is_ok() {
                            metrics.certificate_reloaded(true);
                            self.in_use = material.clone();
                        }
                        replaced
                    }
                    Some(Err(error)) => Err(error.clone()),
                    _ => Ok(()),
                };
                if replaced.is_err() && !std::mem::replace(&mut counted, true) {
                    metrics.certificate_reloaded(false);
                }
                let replaced =
                    replaced.map_err(|why| format!("not replaced, the last good one stays in use: {why}"));
                certificates.tell(replaced.and_then(|()| certificates.in_its_time()).err());
            } else {
                counted = false;
            }
            before = seen;
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
