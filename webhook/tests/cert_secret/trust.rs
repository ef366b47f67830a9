//! A client that trusts what the `caBundle` holds, as an API server does: it learns late of changes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use testkit::cluster::Cluster;

use crate::fixture::{REGISTRATIONS, bundle};

/// Follows a `caBundle`.
#[derive(Debug)]
pub struct Verifier {
    trusted: Mutex<Arc<WebPkiServerVerifier>>,
    /// Seconds.
    ahead: AtomicU64,
}

fn trusting(pem: &str) -> Arc<WebPkiServerVerifier> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

/// Trusts what the bundle held so long ago, for as long as the API server runs.
pub fn of_a_late_api_server(cluster: &Cluster, late: Duration) -> (Arc<Verifier>, Arc<ClientConfig>) {
    let trusted = Mutex::new(trusting(&bundle(cluster, 0).to_pem()));
    let verifier = Arc::new(Verifier { trusted, ahead: AtomicU64::new(0) });
    let theirs = Arc::clone(&verifier);
    // A connection without bookmarks would fall silent, and be given up.
    let events = cluster.watch("admin", &format!("{REGISTRATIONS}?watch=1&allowWatchBookmarks=true"));
    std::thread::spawn(move || {
        for event in events {
            let text =
                event["object"]["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            let pem = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
            if !pem.is_empty() {
                std::thread::sleep(late);
                *theirs.trusted.lock().unwrap() = trusting(&pem);
            }
        }
    });
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let custom = builder.dangerous().with_custom_certificate_verifier(Arc::clone(&verifier) as _);
    (verifier, Arc::new(custom.with_no_client_auth()))
}

impl Verifier {
    fn trusted(&self) -> Arc<WebPkiServerVerifier> {
        Arc::clone(&self.trusted.lock().unwrap())
    }

    /// Puts its clock forward.
    pub fn clock_ahead(&self, ahead: Duration) {
        self.ahead.store(ahead.as_secs(), Ordering::Relaxed);
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(
            now.as_secs() + self.ahead.load(Ordering::Relaxed),
        ));
        self.trusted().verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trusted().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trusted().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted().supported_verify_schemes()
    }
}
