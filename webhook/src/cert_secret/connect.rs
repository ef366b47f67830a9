//! The way to the API server: where it is, whom to trust and who to be.
//!
//! What a kubeconfig and a Pod's service account say is read by the `kube` crate. Its client is not used: with its
//! ways to log in at cloud providers, and HTTP/2, it would be a third of the program. There are a few requests in five
//! minutes, so each has a connection of its own, and finds token and CA as they are then: kubelet replaces both.

use std::time::Duration;

use anyhow::{Context, bail};
use axum::http::{HeaderValue, Method, Request, Response, header};
use common::version::version;
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use kube::{
    Config,
    config::{AuthInfo, KubeConfigOptions},
};
use secrecy::ExposeSecret;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::trust;
use crate::cli::PROGRAM;

/// A watch is silent for minutes; this tells whether somebody is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// An answer that has begun; dropping it ends the connection.
pub type Answer = Response<Incoming>;

/// That of the cluster that this runs in, by its service account, or that of `KUBECONFIG`.
///
/// # Errors
/// When there is none, or it takes a program or a provider to log in.
pub async fn configuration() -> anyhow::Result<Config> {
    match std::env::var_os("KUBECONFIG") {
        Some(path) => Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .with_context(|| format!("cannot use KUBECONFIG={}", path.display())),
        None => Config::incluster().context(
            "no API server to keep the certificate in (--cert-secret): this is not a Pod with the token of a service \
             account, and KUBECONFIG is not set",
        ),
    }
}

/// Asks for a path, which may have a query.
///
/// # Errors
/// When no answer has begun; never in time for its own.
pub async fn ask(method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
    let config = configuration().await?;
    let server = &config.cluster_url;
    let (Some("https"), Some(host)) = (server.scheme_str(), server.host()) else {
        bail!("the API server {server} is not at an https:// address");
    };
    let authority = server.authority().map(ToString::to_string).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((address, server.port_u16().unwrap_or(443))).await;
    let stream = stream.with_context(|| format!("cannot connect to {authority}"))?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    let name = config.tls_server_name.as_deref().unwrap_or(address).to_owned();
    let connector = TlsConnector::from(trust::client(&config)?);
    let stream = connector.connect(name.clone().try_into()?, stream).await;
    let stream = stream.with_context(|| format!("no TLS with {authority} as {name}"))?;

    let json = HeaderValue::from_static("application/json");
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.path().trim_end_matches('/')))
        .header(header::HOST, authority)
        .header(header::ACCEPT, &json)
        .header(header::CONTENT_TYPE, json)
        .header(header::USER_AGENT, format!("{}/{}", PROGRAM.name, version()));
    if let Some(token) = token(&config.auth_info).await? {
        request = request.header(header::AUTHORIZATION, token);
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer's body.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// What says who asks, where it is not a client certificate.
async fn token(user: &AuthInfo) -> anyhow::Result<Option<HeaderValue>> {
    let token = match (&user.token_file, &user.token) {
        (Some(file), _) => {
            let token = tokio::fs::read_to_string(file).await;
            token.with_context(|| format!("cannot read {file}"))?.into()
        }
        (None, Some(token)) => token.clone(),
        (None, None) if user.client_certificate.is_some() || user.client_certificate_data.is_some() => {
            return Ok(None);
        }
        (None, None) => bail!(
            "the user of KUBECONFIG has neither token, tokenFile nor client certificate, and others are not supported"
        ),
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret().trim()))
        .context("the token has line breaks or the like in it")?;
    value.set_sensitive(true);
    Ok(Some(value))
}
