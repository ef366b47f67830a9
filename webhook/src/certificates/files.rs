//! Certificates from files, and their replacement: see [`crate::reload`].

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{Certificates, seconds_since_1970};
use crate::{
    metrics::Metrics,
    reload::{self, Look, Reload},
    tls::{BadMaterial, Identity, Material, Validity},
};

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
    reload::read(path).await.map_err(|cause| FilesError::Read { path: path.to_owned(), cause })
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
    reload: Reload<Material>,
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
        Ok((certificates, Self { files, reload: Reload::new(in_use) }))
    }

    /// Looks at the files, and at the clock, for as long as it is polled.
    pub async fn watch(mut self, certificates: &Certificates, metrics: &Metrics) {
        loop {
            let seen = self.files.read().await.map_err(|error| error.to_string());
            let look = self.reload.look(seen, |material| {
                let replaced = certificates.replace(material, in_time);
                replaced.map_err(|why| format!("{}: {why}", self.files))
            });
            if let Some(Look { problem, count }) = look {
                count.into_iter().for_each(|success| metrics.certificate_reloaded(success));
                certificates.tell(problem.or_else(|| certificates.in_its_time().err()));
            }
            tokio::time::sleep(reload::INTERVAL).await;
        }
    }
}
