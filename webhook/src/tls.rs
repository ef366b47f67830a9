//! From PEM files to a TLS configuration, and what a certificate says of itself.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a server shows and asks for, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The server's certificate, and those that lead to its CA.
    pub certificate: Vec<u8>,
    /// The server's private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: Vec<u8>,
    /// The CAs whose certificates clients must show; without, clients need none.
    pub client_ca: Option<Vec<u8>>,
}

/// A key never comes into a log.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Why PEM files make no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum BadMaterial {
    /// A file is not PEM. Why not is not told: of a key in one line the error would quote all of it.
    #[error("the {0} is not PEM")]
    Pem(&'static str),
    /// A file has nothing of the kind in it.
    #[error("the {0} is not PEM, or holds no certificate")]
    Empty(&'static str),
    /// The client CA is none.
    #[error("the client CA cannot be used: {0}")]
    ClientCa(String),
    /// Certificate and key don't go together, or are of a kind that rustls does not take.
    #[error("{}", explained(.0))]
    Pair(#[from] rustls::Error),
    /// The key is of a kind that can't be used.
    #[error(
        "the private key cannot be used ({0}); RSA of 2048 bits and more, ECDSA P-256 and P-384, and Ed25519 can"
    )]
    Key(rustls::Error),
    /// The certificate can't be read.
    #[error("the certificate is not X.509: {0}")]
    X509(String),
}

/// The commonest mistakes in words.
fn explained(error: &rustls::Error) -> String {
    let text = error.to_string();
    if text.contains("KeyMismatch") {
        "the private key does not belong to the certificate".to_owned()
    } else if text.contains("UnsupportedCertVersion") {
        "the certificate is X.509 v1; make a v3 one, with subjectAltName (openssl x509 -req needs -extfile)"
            .to_owned()
    } else {
        format!("certificate and key cannot be used: {text}")
    }
}

/// What a person wants to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Colon-separated hexadecimal, as openssl prints it.
    pub serial: String,
    not_before: i64,
    not_after: i64,
    not_after_text: String,
}

impl Identity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, BadMaterial> {
        let (_, x509) =
            X509Certificate::from_der(certificate).map_err(|error| BadMaterial::X509(error.to_string()))?;
        let validity = x509.validity();
        Ok(Self {
            serial: x509.raw_serial_as_string(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            not_after_text: validity.not_after.to_string(),
        })
    }
}

/// The names and addresses that a certificate is for.
#[must_use]
pub fn names(certificate: &CertificateDer<'_>) -> BTreeSet<String> {
    let Ok((_, x509)) = X509Certificate::from_der(certificate) else { return BTreeSet::new() };
    let Ok(Some(names)) = x509.subject_alternative_name() else { return BTreeSet::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// Whether a certificate is within its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It will be.
    NotYet,
    /// It is.
    Now,
    /// It was.
    Expired,
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYet => "is not valid yet",
            Self::Now => "is valid",
            Self::Expired => "has expired",
        })
    }
}

impl Identity {
    /// How many seconds it has left at a point in time; negative since it has expired.
    #[must_use]
    pub fn seconds_left(&self, now: i64) -> i64 {
        self.not_after.saturating_sub(now)
    }

    /// When two thirds of its life are over, in seconds since 1970.
    #[must_use]
    pub fn renewal(&self) -> i64 {
        self.not_after.saturating_sub(self.not_after.saturating_sub(self.not_before) / 3)
    }

    /// At a point in time, in seconds since 1970.
    #[must_use]
    pub fn validity(&self, now: i64) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now > self.not_after {
            Validity::Expired
        } else {
            Validity::Now
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {} until {}", self.serial, self.not_after_text)
    }
}

/// Builds the configuration: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// The last 256 sessions can be resumed, which saves a fifth of what a connection costs, and what that takes can't
/// be measured on others. They stay in the configuration and end with it: one that is resumed shows no certificate, so
/// it must not outlive the client CA that it was measured by. Tickets that the client keeps would be no cheaper, and
/// have a key that opens them all.
///
/// # Errors
/// [`BadMaterial`], when the files can't be used, or not together.
pub fn configuration(material: &Material) -> Result<(Arc<ServerConfig>, Identity), BadMaterial> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("certificate", &material.certificate)?;
    let identity = Identity::of(chain.first().ok_or(BadMaterial::Empty("certificate"))?)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key).map_err(|_| BadMaterial::Pem("private key"))?;
    provider.key_provider.load_private_key(key.clone_key()).map_err(BadMaterial::Key)?;
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &material.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => builder.with_client_cert_verifier(client_verifier(authorities, provider)?),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), identity))
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadMaterial> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|_| BadMaterial::Pem(what))?;
    if chain.is_empty() { Err(BadMaterial::Empty(what)) } else { Ok(chain) }
}

fn client_verifier(
    authorities: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, BadMaterial> {
    let mut roots = RootCertStore::empty();
    for authority in certificates("client CA", authorities)? {
        roots.add(authority).map_err(|error| BadMaterial::ClientCa(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| BadMaterial::ClientCa(error.to_string()))
}
