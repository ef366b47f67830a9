//! TLS with the API server.

use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::way::{Identity, Way};

/// Trusts the CAs of the API server, and shows the client certificate if there is one.
///
/// # Errors
/// When either can't be used.
pub(super) fn client(way: &Way) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&way.ca) {
        let authority = authority.ok().context("the API server's CA is not PEM")?;
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
    let (chain, key) = read(identity)?;
    let config = builder.with_client_auth_cert(chain, key);
    Ok(Arc::new(config.context("the client certificate and its key")?))
}

/// Why one is not PEM is not told: of a key in one line the error would quote all of it.
fn read(identity: &Identity) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(&identity.chain).collect::<Result<_, _>>().ok();
    let key = PrivateKeyDer::from_pem_slice(identity.key.reveal().as_bytes()).ok();
    Ok((
        chain.context("the client certificate is not PEM")?,
        key.context("the key of the client certificate is not PEM")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::Secret;

    #[test]
    fn a_key_in_one_line_is_not_quoted() {
        let key = "-----BEGIN PRIVATE KEY----- aHVudGVyMg== -----END PRIVATE KEY-----";
        for (chain, key) in [(key, ""), ("", key), ("", &format!("{key}\nmore"))] {
            let identity = Identity { chain: chain.into(), key: Secret::new(key) };
            let error = format!("{:#}", read(&identity).unwrap_err());
            assert!(error.ends_with(" is not PEM"), "{error}");
        }
    }
}
