//! The flags that say where the certificate comes from.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, parser::ValueSource};
use common::flags::{Stop, string, value};

use crate::{
    cert_secret::Place,
    certificates::Files,
    names::{Namespaced, Subdomain},
};

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// `--cert-dir`
    Files(Files),
    /// `--cert-secret` and `--webhook-configuration`
    Secret(Place),
    /// Made at the start.
    InMemory,
}

pub(super) fn flags() -> [Arg; 6] {
    [
        string("cert-dir", "cert-dir is the directory that contains the server key and certificate. The server key and certificate. If not set, and --cert-secret is not either, a certificate is made in memory and its CA printed."),
        string("cert-name", "[optional] cert-name is the server certificate name.").default_value("tls.crt"),
        value("cert-secret", "string", |text: &str| text.parse::<Namespaced>(), "[optional] cert-secret is the namespace and name, with / between, of a Secret in which all replicas keep a CA and a certificate that they make and renew by themselves."),
        string("client-ca-name", "[optional] client-ca-name is the CA certificate name which server used to verify remote(client)'s certificate. Defaults to \"\", which means server does not verify client's certificate.")
            .default_value(""),
        string("key-name", "[optional] key-name is the server key name.").default_value("tls.key"),
        value("webhook-configuration", "string", |text: &str| text.parse::<Subdomain>(), "[optional] webhook-configuration is the name of the MutatingWebhookConfiguration whose caBundle is kept right. Needs cert-secret."),
    ]
}

pub(super) fn from_matches(matches: &ArgMatches) -> Result<CertificateSource, Stop> {
    let text = |name| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let (folder, client_ca) = (PathBuf::from(text("cert-dir")), text("client-ca-name"));
    let secret = secret(matches)?;
    if !folder.as_os_str().is_empty() {
        if secret.is_some() {
            return Err(Stop::Mistake(
                "--cert-dir and --cert-secret are two sources of one certificate; leave one out".to_owned(),
            ));
        }
        // As in Go: an empty name is the default, and a path is one below the folder.
        let file = |name: &str, default: &str| {
            folder.join(if name.is_empty() { default } else { name.trim_start_matches('/') })
        };
        return Ok(CertificateSource::Files(Files {
            certificate: file(&text("cert-name"), "tls.crt"),
            key: file(&text("key-name"), "tls.key"),
            client_ca: Some(client_ca).filter(|name| !name.is_empty()).map(|name| file(&name, "")),
        }));
    }
    for name in ["cert-name", "key-name", "client-ca-name"] {
        if matches.value_source(name) != Some(ValueSource::DefaultValue) && !text(name).is_empty() {
            return Err(Stop::Mistake(format!(
                "invalid argument {:?} for \"--{name}\" flag: it names a file in --cert-dir, which is not set",
                text(name)
            )));
        }
    }
    Ok(secret.map_or(CertificateSource::InMemory, CertificateSource::Secret))
}

fn secret(matches: &ArgMatches) -> Result<Option<Place>, Stop> {
    let secret = matches.get_one::<Namespaced>("cert-secret").cloned();
    let registration = matches.get_one::<Subdomain>("webhook-configuration").cloned();
    match (secret, registration) {
        (None, None) => Ok(None),
        (Some(Namespaced { namespace, name }), Some(Subdomain(registration))) => {
            Ok(Some(Place { namespace, secret: name, registration }))
        }
        (Some(_), None) => Err(Stop::Mistake(
            "--cert-secret needs --webhook-configuration, the name of the MutatingWebhookConfiguration that has to \
             trust the certificate"
                .to_owned(),
        )),
        (None, Some(_)) => Err(Stop::Mistake(
            "--webhook-configuration needs --cert-secret, the NAMESPACE/NAME of the Secret that keeps the certificate"
                .to_owned(),
        )),
    }
}
