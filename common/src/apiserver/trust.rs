//! TLS with the API server.

use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::way::Way;

/// Trusts the CAs of the API server, and shows the client certificate if there is one.
///
/// # Errors
/// When either can't be used.
pub(super) fn client(way: &Way) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&way.ca) {
        let authority = authority.context("the API server's CA is not PEM")?;
        roots.add(authority).context("the API server's CA cannot be used")?;
    }
    if roots.is_empty() {
        bail!("there is no certificate in the API server's CA (certificate-authority)");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let Some(identity) = &way.user.certificate else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&identity.chain).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.reveal().as_bytes());
    let key = key.context("the key of the client certificate")?;
    let config = builder.with_client_auth_cert(chain.context("the client certificate")?, key);
    Ok(Arc::new(config.context("the client certificate and its key")?))
}
