//! Which API server, whom to trust and who to be: as a Pod's service account has it.

use std::path::Path;

use anyhow::{Context, bail};
use axum::http::Uri;

use crate::{egress::Secret, files, listen::HostPort};

/// Where kubelet puts what a Pod has to know.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The longest file that is read, in bytes.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What comes of a kubeconfig or a service account.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) server: Uri,
    /// The name in its certificate, if it is not that of the address.
    pub(super) tls_name: Option<String>,
    /// The CAs of its certificate, PEM.
    pub(super) ca: Vec<u8>,
    pub(super) user: User,
}

/// Who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) token: Option<Secret>,
    pub(super) certificate: Option<Identity>,
}

/// A client certificate and its key, both PEM.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) chain: Vec<u8>,
    pub(super) key: Secret,
}

/// The way from within a Pod.
///
/// # Errors
/// When this is none, or has no token.
pub(super) fn of_this_pod() -> anyhow::Result<Way> {
    let variable = |name| std::env::var(name).with_context(|| format!("no {name}"));
    let host = variable("KUBERNETES_SERVICE_HOST")?;
    let port = variable("KUBERNETES_SERVICE_PORT")?;
    let folder = Path::new(ACCOUNT);
    Ok(Way {
        server: address(&host, &port)?,
        tls_name: None,
        ca: read(&folder.join("ca.crt"))?,
        user: User { token: Some(token(&folder.join("token"))?), certificate: None },
    })
}

fn address(host: &str, port: &str) -> anyhow::Result<Uri> {
    let Ok(number) = port.parse::<u16>() else { bail!("KUBERNETES_SERVICE_PORT={port} is not a port") };
    if host.is_empty() {
        bail!("KUBERNETES_SERVICE_HOST is empty");
    }
    let host = HostPort { host: host.to_owned(), port: number };
    format!("https://{host}").parse().with_context(|| format!("{host} is no host and port"))
}

/// All of a file.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::read(path, LONGEST).with_context(|| format!("cannot read {}", path.display()))
}

/// All of a file that nobody else may see.
pub(super) fn secret(path: &Path) -> anyhow::Result<Secret> {
    let text = String::from_utf8(read(path)?).ok();
    text.map(Secret::new).with_context(|| format!("{} is not a text in UTF-8", path.display()))
}

/// The token in a file.
pub(super) fn token(path: &Path) -> anyhow::Result<Secret> {
    let token = Secret::new(secret(path)?.reveal().trim());
    if token.reveal().is_empty() {
        bail!("{} is empty, and a token is expected there", path.display());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_environment_says_where() {
        for (host, port, server) in [
            ("10.96.0.1", "443", Some("https://10.96.0.1:443/")),
            ("fd00::1", "6443", Some("https://[fd00::1]:6443/")),
            ("api.example", "443", Some("https://api.example:443/")),
            ("10.96.0.1", "", None),
            ("10.96.0.1", "65536", None),
            ("", "443", None),
            ("a b", "443", None),
        ] {
            let read = address(host, port).ok().map(|server| server.to_string());
            assert_eq!(read.as_deref(), server, "{host} {port}");
        }
    }
}
