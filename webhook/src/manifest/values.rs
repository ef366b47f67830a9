//! What may stand in a manifest.

use std::{path::Path, str::FromStr};

use axum::http::Uri;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{
    CertificateDer,
    pem::{PemObject, SectionKind},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    handler,
    names::{BadValue, bad},
};

/// The longest file that is read, in bytes; an object in etcd has to stay below 1.5 MB.
const LONGEST_FILE: u64 = 512 * 1024;

/// A text in YAML's double quotes, whatever is in it: those of JSON are YAML too.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where the API server finds the webhook if not by a Service. With a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url(pub(super) String);

impl FromStr for Url {
    type Err = BadValue;

    /// The same terms as the API server's.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Some(rest) = text.strip_prefix("https://") else {
            return bad("not an https:// URL; the API server talks to webhooks by no other");
        };
        if rest.contains(['?', '#', '@']) {
            return bad("has a query, a fragment or a user, which the API server refuses");
        }
        let uri: Uri = text.parse().or_else(|error| bad(format!("not a URL: {error}")))?;
        if uri.host().is_none_or(str::is_empty) || uri.port().is_some_and(|port| port.as_str() == "0") {
            return bad("not a URL with a host, and a port other than 0 if any");
        }
        // `https://host:` and `https://host:99999` parse as well.
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let tail = authority.rsplit(']').next().unwrap_or_default();
        if tail.contains(':') && uri.port_u16().is_none() {
            return bad("not a URL: its port is no number from 1 to 65535");
        }
        if uri.path() == "/" {
            return Ok(Self(format!("https://{authority}{}", handler::PATH)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Certificates, in PEM, in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CaBundle(pub(super) String);

impl CaBundle {
    /// Reads a file, which may hold nothing but certificates: what is in there will be seen by everybody.
    ///
    /// # Errors
    /// When it can't be read, or holds something else, or nothing.
    pub(super) fn read(path: &str) -> Result<Self, BadValue> {
        let read = common::files::read(Path::new(path), LONGEST_FILE);
        let pem = read.or_else(|error| bad(format!("cannot read it: {error}")))?;
        Self::from_pem(&pem)
    }

    fn from_pem(pem: &[u8]) -> Result<Self, BadValue> {
        let mut bundle = String::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.or_else(|_| bad("not PEM"))?;
            if kind != SectionKind::Certificate {
                return bad("holds something that is no certificate, and everybody would see it");
            }
            if let Err(error) = X509Certificate::from_der(&der) {
                return bad(format!("holds a certificate that can't be read: {error}"));
            }
            bundle += &in_pem(&CertificateDer::from(der));
        }
        if bundle.is_empty() { bad("holds no certificate") } else { Ok(Self(STANDARD.encode(bundle))) }
    }
}

/// Only the certificate: text around it may be anything, a key in a form unknown here among it.
fn in_pem(certificate: &CertificateDer<'_>) -> String {
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (index, character) in STANDARD.encode(certificate).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_what_the_api_server_takes() {
        let url = |text: &str| text.parse::<Url>().map(|url| url.0).map_err(|error| error.0);
        for (text, expected) in [
            ("https://host", "https://host/webhook/pod-apiserver-env"),
            ("https://10.0.0.1:9443/", "https://10.0.0.1:9443/webhook/pod-apiserver-env"),
            ("https://[fd00::1]:9443", "https://[fd00::1]:9443/webhook/pod-apiserver-env"),
            ("https://[fd00::1]/a", "https://[fd00::1]/a"),
            ("https://host/behind/a/proxy", "https://host/behind/a/proxy"),
        ] {
            assert_eq!(url(text), Ok(expected.to_owned()));
        }
        for text in [
            "",
            "host",
            "http://host",
            "https://",
            "https:///path",
            "https://host?a=b",
            "https://host/#a",
            "https://me@host",
            "https://host:",
            "https://host:0",
            "https://host:99999",
            "https://host:https",
            "https://ho st",
            "https://host/a\nb",
        ] {
            assert!(url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bundle_is_nothing_but_certificates() {
        let authority = testkit::pki::Authority::new("one");
        let two = format!("a comment\n{}{}", authority.pem(), testkit::pki::Authority::new("two").pem());
        let CaBundle(bundle) = CaBundle::from_pem(two.as_bytes()).unwrap();
        let decoded = String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap();
        assert_eq!(CertificateDer::pem_slice_iter(decoded.as_bytes()).count(), 2);
        assert!(decoded.lines().all(|line| line.len() <= 64) && !decoded.contains("comment"));
        assert_eq!(decoded.replace('\n', ""), two.replace("a comment", "").replace(['\n', '\r'], ""));

        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, why) in [
            (String::new(), "holds no certificate"),
            ("nothing".to_owned(), "holds no certificate"),
            (format!("{two}{key}"), "holds something that is no certificate"),
            (broken.to_owned(), "holds a certificate that can't be read"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), "not PEM"),
        ] {
            let error = CaBundle::from_pem(pem.as_bytes()).unwrap_err();
            assert!(error.0.starts_with(why), "{error}");
        }
    }
}
