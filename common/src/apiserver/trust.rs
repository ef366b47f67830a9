//! TLS with the API server.

use std::{fs, sync::Arc};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{Config, config::AuthInfo};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use secrecy::ExposeSecret;

/// Trusts the CAs of a configuration, and shows its client certificate if it has one.
///
/// # Errors
/// When either can't be used.
pub(super) fn client(config: &Config) -> anyhow::Result<Arc<ClientConfig>> {
    if config.accept_invalid_certs {
        bail!(
            "KUBECONFIG has insecure-skip-tls-verify, and not just anybody is believed: put the CA into certificate-authority"
        );
    }
    let mut roots = RootCertStore::empty();
    for authority in config.root_cert.iter().flatten() {
        roots
            .add(CertificateDer::from(authority.as_slice()))
            .context("the API server's CA cannot be used")?;
    }
    if roots.is_empty() {
        bail!("it is not said which CA the API server's certificate is of (certificate-authority)");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let Some((certificate, key)) = identity(&config.auth_info)? else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let key = PrivateKeyDer::from_pem_slice(&key).context("the key of the client certificate")?;
    let config = builder.with_client_auth_cert(chain.context("the client certificate")?, key);
    Ok(Arc::new(config.context("the client certificate and its key")?))
}

/// The client certificate and its key, both PEM.
fn identity(user: &AuthInfo) -> anyhow::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let pem = |data: Option<&str>, file: Option<&String>| match (data, file) {
        (Some(data), _) => STANDARD.decode(data).map(Some).context("client certificate data of KUBECONFIG"),
        (None, Some(file)) => fs::read(file).map(Some).with_context(|| format!("cannot read {file}")),
        (None, None) => Ok(None),
    };
    let certificate = pem(user.client_certificate_data.as_deref(), user.client_certificate.as_ref())?;
    let key = user.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    match (certificate, pem(key, user.client_key.as_ref())?) {
        (Some(_), None) => bail!("KUBECONFIG has a client certificate without its key"),
        (certificate, key) => Ok(certificate.zip(key)),
    }
}
