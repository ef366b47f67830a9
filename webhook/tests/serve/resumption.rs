//! TLS sessions that are resumed. API servers do not; a monitor or a proxy in front may.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use testkit::{
    eventually,
    https::Connection,
    pki::{Authority, Certificate},
};

use crate::fixture::{PATH, serve};

/// Remembers sessions, and shows a certificate.
fn client(
    authority: &Authority,
    certificate: &Certificate,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
    Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
}

/// Posts the seed on a new connection: the status, and whether a session was resumed.
fn post(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<(u16, bool)> {
    let body = std::fs::read(testkit::testdata("admission.json")).unwrap();
    let mut connection = Connection::open(config, address)?;
    Ok((connection.post(PATH, &body)?.status, connection.is_resumed()))
}

#[test]
fn sessions_are_resumed_until_the_certificate_is_replaced() {
    let serving = serve(&[]);
    let shown = serving.authority.issue(7);
    let configs = [&TLS12, &TLS13].map(|version| client(&serving.authority, &shown, version));
    for config in &configs {
        assert_eq!(post(config, serving.address).unwrap(), (200, false));
        for _ in 0..3 {
            assert_eq!(post(config, serving.address).unwrap(), (200, true));
        }
    }
    serving.authority.issue(2).write(serving.folder.path());
    serving.running.wait_for("certificate replaced");
    for config in &configs {
        assert_eq!(post(config, serving.address).unwrap(), (200, false), "anew, and no error");
        assert_eq!(post(config, serving.address).unwrap(), (200, true));
    }
}

/// As a client meets them behind a Service, with certificates of one CA.
#[test]
fn a_session_of_another_replica_is_no_error() {
    let one = serve(&[]);
    let folder = tempfile::tempdir().unwrap();
    one.authority.issue(2).write(folder.path());
    let other = crate::fixture::serve_from(Authority::new("unused"), folder, &[]);
    for version in [&TLS12, &TLS13] {
        let config = client(&one.authority, &one.authority.issue(7), version);
        assert_eq!(post(&config, one.address).unwrap(), (200, false));
        assert_eq!(post(&config, other.address).unwrap(), (200, false));
        assert_eq!(post(&config, other.address).unwrap(), (200, true));
    }
}

/// A resumed handshake shows no certificate that could be checked.
#[test]
fn no_session_outlives_the_client_ca_that_let_it_in() {
    let serving = serve(&["--client-ca-name=ca.crt"]);
    let (old, new) = (serving.authority.issue(7), Authority::new("another CA"));
    let configs = [&TLS12, &TLS13].map(|version| client(&serving.authority, &old, version));
    for config in &configs {
        assert_eq!(post(config, serving.address).unwrap(), (200, false));
        assert_eq!(post(config, serving.address).unwrap(), (200, true));
    }
    std::fs::write(serving.folder.path().join("ca.crt"), new.pem()).unwrap();
    let welcome = client(&serving.authority, &new.issue(8), &TLS13);
    eventually(|| "the new client CA".to_owned(), || post(&welcome, serving.address).ok());
    for config in &configs {
        assert!(post(config, serving.address).is_err(), "its certificate is not of the new CA");
    }
}
