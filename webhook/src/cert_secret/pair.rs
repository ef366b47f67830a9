//! A certificate with its key, and how one is made.

use std::{collections::BTreeSet, fmt::Display};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::{Duration, OffsetDateTime};

use super::{authorities::Authorities, clock::Clocks};
use crate::{
    self_signed,
    tls::{self, Identity, Material},
};

/// How long a certificate is good for. One that is renewed without help can be short-lived, and one that has a month
/// left outlives any outage.
pub const LIFE: Duration = Duration::days(90);
/// How long before it is made a certificate begins: clocks differ.
const HEAD_START: Duration = Duration::hours(1);

/// A server's certificate and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, and those that lead to its CA.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// The key never comes into a log.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A certificate, and the CAs that it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The certificate and its key.
    pub pair: Pair,
    /// Those that must be trusted by whoever meets it.
    pub authorities: Authorities,
}

impl Pair {
    /// For the TLS configuration.
    #[must_use]
    pub fn material(&self) -> Material {
        Material {
            certificate: self.certificate.clone().into_bytes(),
            key: self.key.clone().into_bytes(),
            client_ca: None,
        }
    }

    /// Who it is; without an answer where it is none or its key is another's.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        tls::configuration(&self.material()).ok().map(|(_, identity)| identity)
    }

    /// The names that its certificate is for.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        der.map(|der| tls::names(&der)).unwrap_or_default()
    }
}

/// Makes a CA, a certificate of it for those names, and forgets the CA's key: nobody can make another one of that CA,
/// whoever reads the Secret.
///
/// # Errors
/// When a name can't stand in a certificate, or nobody would accept it there, or the machine gives no random numbers.
pub fn make(names: &BTreeSet<String>, now: Clocks) -> Result<Known, String> {
    let list: Vec<String> = names.iter().cloned().collect();
    let cannot = |why: &dyn Display| format!("cannot make a certificate for {}: {why}", list.join(", "));
    let time = |seconds: i64, more: Duration| {
        let time = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.checked_add(more));
        time.ok_or_else(|| cannot(&format!("the clock says {seconds}")))
    };
    let (begins, ends) = (time(now.earlier(), -HEAD_START)?, time(now.later(), LIFE)?);
    let (material, authority) = self_signed::generate(&list, begins, ends).map_err(|error| cannot(&error))?;
    let text = |bytes| String::from_utf8(bytes).map_err(|error| cannot(&error));
    let pair = Pair { certificate: text(material.certificate)?, key: text(material.key)? };
    let known = Known { pair, authorities: Authorities::from_pem(authority.pem().as_bytes()) };
    known.authorities.accept(&known.pair, names, now.earlier()).map_err(|why| cannot(&why))?;
    Ok(known)
}
