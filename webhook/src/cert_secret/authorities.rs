//! CAs, and what an API server would accept that trusts them.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pair::Pair;

/// CAs kept beside those that are needed. Each renewal adds one and each expiry takes one away, so there are two or
/// three; more mean that something makes certificates again and again, and the oldest go.
const MOST: usize = 8;

/// A certificate, ordered by when it begins to be valid, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Authority {
    begins: i64,
    ends: i64,
    der: CertificateDer<'static>,
}

impl Ord for Authority {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.begins.cmp(&self.begins).then_with(|| self.der.as_ref().cmp(other.der.as_ref()))
    }
}

impl PartialOrd for Authority {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// CAs, each once, in an order that is always the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorities(BTreeSet<Authority>);

impl Authorities {
    /// Those that are in a text. What is no certificate is left out: a bundle may hold a placeholder.
    #[must_use]
    pub fn from_pem(text: &[u8]) -> Self {
        let certificates = CertificateDer::pem_slice_iter(text).filter_map(Result::ok);
        let read = certificates.filter_map(|der| {
            let (_, x509) = X509Certificate::from_der(&der).ok()?;
            let (begins, ends) =
                (x509.validity().not_before.timestamp(), x509.validity().not_after.timestamp());
            Some(Authority { begins, ends, der })
        });
        Self(read.collect())
    }

    /// As a text, for `ca.crt` and `caBundle`.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let blocks: Vec<Pem> =
            self.0.iter().map(|authority| Pem::new("CERTIFICATE", authority.der.as_ref())).collect();
        pem::encode_many_config(&blocks, EncodeConfig::new().set_line_ending(LineEnding::LF))
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of `others` are among them.
    #[must_use]
    pub fn contain(&self, others: &Self) -> bool {
        others.0.is_subset(&self.0)
    }

    /// Without those that have expired, at a point in time in seconds since 1970.
    #[must_use]
    pub fn unexpired(&self, now: i64) -> Self {
        Self(self.0.iter().filter(|authority| authority.ends >= now).cloned().collect())
    }

    /// All of these and of others.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        Self(self.0.union(&others.0).cloned().collect())
    }

    /// Those that are needed, and the newest few of the rest.
    #[must_use]
    pub fn limited(&self, needed: &Self) -> Self {
        let rest = self.0.difference(&needed.0).take(MOST).cloned();
        Self(self.0.intersection(&needed.0).cloned().chain(rest).collect())
    }

    /// Those by which a certificate is accepted, under a name of its own.
    #[must_use]
    pub fn of(&self, pair: &Pair, now: i64) -> Self {
        let Some(name) = pair.names().pop_first() else { return Self::default() };
        let alone = |authority: &&Authority| {
            Self([(*authority).clone()].into()).accept(pair, &[name.clone()].into(), now).is_ok()
        };
        Self(self.0.iter().filter(alone).cloned().collect())
    }

    /// Whether who trusts these accepts a server that shows that certificate, under each of the names, at a point in
    /// time in seconds since 1970. It is examined as a client would.
    ///
    /// # Errors
    /// Why not.
    pub fn accept(&self, pair: &Pair, names: &BTreeSet<String>, now: i64) -> Result<(), String> {
        let mut chain = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pair.certificate.as_bytes()) {
            chain.push(certificate.map_err(|_| "the certificate is not PEM")?);
        }
        let (server, between) = chain.split_first().ok_or("there is no certificate")?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().map(|authority| authority.der.clone()));
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
                .build()
                .map_err(|error| error.to_string())?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        for name in names {
            let server_name = match name.parse::<IpAddr>() {
                Ok(address) => ServerName::from(address),
                Err(_) => ServerName::try_from(name.as_str()).map_err(|error| format!("{name}: {error}"))?,
            };
            verifier
                .verify_server_cert(server, between, &server_name, &[], now)
                .map_err(|error| format!("under the name {name}: {error}"))?;
        }
        Ok(())
    }
}
