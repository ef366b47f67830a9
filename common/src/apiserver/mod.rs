//! The way to the API server: where it is, whom to trust and who to be. With the feature `apiserver`.
//!
//! There are a few requests in five minutes, so each has a connection of its own, and finds token and CA as they are
//! then: kubelet replaces both. No library is used: the `kube` crate's client, with its ways to log in at cloud providers
//! and HTTP/2, would be a third of the program, and its reader of kubeconfigs alone a tenth.

mod kubeconfig;
mod trust;
mod way;

use std::time::Duration;

use anyhow::{Context, bail};
use axum::http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use self::way::{User, Way};
use crate::version::version;

/// A watch is silent for minutes; this tells whether somebody is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// An answer that has begun; dropping it ends the connection.
pub type Answer = Response<Incoming>;

/// What is asked of an API server.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The name of the program that asks.
    pub program: &'a str,
    /// What to do.
    pub method: Method,
    /// With what, which may have a query.
    pub path: &'a str,
    /// JSON, or nothing.
    pub body: Vec<u8>,
}

/// An API server as a configuration has it: where it is, and what comes with a request.
#[derive(Debug)]
pub struct Server {
    way: Way,
    host: String,
    port: u16,
    authority: String,
}

impl Server {
    /// That of the cluster that this runs in, by its service account, or that of `KUBECONFIG`. `purpose` says what it is
    /// for, `to watch endpoints (--discover)`.
    ///
    /// # Errors
    /// When there is none, or it takes a program or a provider to log in.
    pub async fn find(purpose: &str) -> anyhow::Result<Self> {
        // Empty is as good as not set, for kubectl too.
        let way = match std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
            Some(paths) => {
                kubeconfig::way(&paths).with_context(|| format!("cannot use KUBECONFIG={}", paths.display()))?
            }
            None => way::of_this_pod().with_context(|| {
                format!(
                    "no API server {purpose}: this is not a Pod with the token of a service account, and KUBECONFIG is \
                     not set"
                )
            })?,
        };
        let server = &way.server;
        let (Some("https"), Some(host)) = (server.scheme_str(), server.host()) else {
            bail!("the API server {server} is not at an https:// address");
        };
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: server.port_u16().unwrap_or(443),
            authority: server.authority().map(ToString::to_string).unwrap_or_default(),
            way,
        })
    }

    /// Its name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks over a connection of its own to where the configuration says.
    ///
    /// # Errors
    /// When no answer has begun; never in time for its own.
    pub async fn ask(&self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.with_context(|| format!("cannot connect to {}", self.authority))?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream)
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        self.ask_over(stream, ask).await
    }

    /// Asks over that connection, wherever it leads.
    ///
    /// # Errors
    /// The same.
    pub async fn ask_over(&self, stream: TcpStream, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let Self { way, authority, .. } = self;
        let name = way.tls_name.as_deref().unwrap_or(&self.host).to_owned();
        let connector = TlsConnector::from(trust::client(way)?);
        let stream = connector.connect(name.clone().try_into()?, stream).await;
        let stream = stream.with_context(|| format!("no TLS with {authority} as {name}"))?;

        let json = HeaderValue::from_static("application/json");
        let mut request = Request::builder()
            .method(ask.method)
            .uri(format!("{}{}", way.server.path().trim_end_matches('/'), ask.path))
            .header(header::HOST, authority)
            .header(header::ACCEPT, &json)
            .header(header::CONTENT_TYPE, json)
            .header(header::USER_AGENT, format!("{}/{}", ask.program, version()));
        if let Some(token) = token(&way.user)? {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(ask.body)))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer's body.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

/// What says who asks, where it is not a client certificate alone.
fn token(user: &User) -> anyhow::Result<Option<HeaderValue>> {
    let Some(token) = &user.token else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        .context("the token has line breaks or the like in it")?;
    value.set_sensitive(true);
    Ok(Some(value))
}
