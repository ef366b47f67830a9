//! The way to the API server.

use anyhow::Context;
use axum::http::{HeaderValue, header};
use common::version::version;
use kube::{Client, Config, config::KubeConfigOptions};

use crate::cli::PROGRAM;

/// A client for the cluster that this runs in, by its service account, or for that of `KUBECONFIG`.
pub async fn client() -> anyhow::Result<Client> {
    let mut config = match std::env::var_os("KUBECONFIG") {
        Some(path) => Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .with_context(|| format!("cannot use KUBECONFIG={}", path.display()))?,
        None => Config::incluster().context(
            "no API server to keep the certificate in (--cert-secret): this is not a Pod with the token of a \
             service account, and KUBECONFIG is not set",
        )?,
    };
    // An API server is never behind the corporate proxy of HTTPS_PROXY.
    config.proxy_url = None;
    // Retries are ours: they must not hide what is wrong.
    config.default_retry = false;
    let agent = format!("{}/{}", PROGRAM.name, version());
    if let Ok(agent) = HeaderValue::from_str(&agent) {
        config.headers.push((header::USER_AGENT, agent));
    }
    Client::try_from(config).context("cannot talk to the API server")
}
