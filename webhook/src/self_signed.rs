//! A certificate without any help: a CA and a server certificate of it.

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use time::OffsetDateTime;

use crate::tls::Material;

/// Names under which a webhook is reached when somebody tries it out.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The CA that a client must trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pem: String,
}

impl Authority {
    /// What is printed at the start: the CA as PEM, for curl, and in base64, for a registration.
    #[must_use]
    pub fn introduction(&self) -> String {
        format!(
            "No --cert-dir was given, so a certificate for {} was made in memory, for trying this out.\n\
             Its CA, for curl --cacert:\n\n{}\n\
             The same as caBundle, for a MutatingWebhookConfiguration with url: https://localhost:… (an API server \
             on this machine; not for a Service):\n\n{}\n\n",
            LOCAL_NAMES.join(", "),
            self.pem,
            STANDARD.encode(&self.pem)
        )
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// Makes a CA, and a certificate of it for `localhost`, the loopback addresses and `host`, good for long: its key dies
/// with the process, so the dates need not limit it, and they must hold on a machine with a wrong clock.
///
/// # Errors
/// When `host` can't stand in a certificate, or the machine gives no random numbers.
pub fn in_memory(host: &str) -> Result<(Material, Authority), rcgen::Error> {
    let mut names: Vec<String> = LOCAL_NAMES.map(ToOwned::to_owned).to_vec();
    if !host.is_empty() && !LOCAL_NAMES.contains(&host) {
        names.push(host.to_owned());
    }
    generate(&names, date_time_ymd(2020, 1, 1), date_time_ymd(2049, 12, 31))
}

/// Makes a CA, and a certificate of it for those names, both good from `begins` to `ends`. The CA's key is forgotten.
///
/// # Errors
/// When a name can't stand in a certificate, or the machine gives no random numbers.
pub fn generate(
    names: &[String],
    begins: OffsetDateTime,
    ends: OffsetDateTime,
) -> Result<(Material, Authority), rcgen::Error> {
    let valid = |params: &mut CertificateParams| (params.not_before, params.not_after) = (begins, ends);
    let mut ca = CertificateParams::default();
    valid(&mut ca);
    // Two CAs of one name would be mistaken for each other by who looks one up by its name.
    let name = format!("apiserver-proxy-pod-webhook CA {}", begins.unix_timestamp());
    ca.distinguished_name.push(DnType::CommonName, name);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let authority = Authority { pem: ca.self_signed(&ca_key)?.pem() };

    let mut server = CertificateParams::new(names.to_vec())?;
    valid(&mut server);
    server.distinguished_name.push(DnType::CommonName, "apiserver-proxy-pod-webhook");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let material = Material {
        certificate: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        client_ca: None,
    };
    Ok((material, authority))
}
