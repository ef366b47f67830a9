//! One check of one endpoint.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Check, HealthSettings, decide::Found};
use crate::{
    connect::Reason,
    greet::{NotGreeted, greet},
    protocol::{
        Protocol,
        connect::{Answer, LONGEST_HEAD, answer},
    },
};

/// How long the other side may take to end a connection that is over, and what it may still say.
const GOODBYE: (Duration, u64) = (Duration::from_secs(1), 64 * 1024);

/// Why a check came to nothing.
enum Failed {
    Connect(io::Error),
    Later(String),
}

impl Failed {
    fn later(what: &str) -> impl Fn(io::Error) -> Self {
        move |error| match Reason::of(&error) {
            // Whenever it happens.
            Reason::Ours => Self::Connect(error),
            _ => Self::Later(format!("{what}: {error}")),
        }
    }
}

/// Checks an endpoint, within the settings' time; to end the connection in peace may take a second more.
pub async fn check(
    address: SocketAddr,
    protocol: &Protocol,
    settings: &HealthSettings,
    trust: &Arc<ClientConfig>,
) -> Found {
    let mut open = None;
    let checked = timeout(settings.timeout, examine(address, protocol, settings, trust, &mut open)).await;
    if let Some(stream) = open {
        let _ = timeout(GOODBYE.0, end(stream)).await;
    }
    match checked {
        Ok(Ok(())) => Found::Good,
        Ok(Err(Failed::Connect(error))) => match Reason::of(&error) {
            Reason::Ours => Found::Nothing(error.to_string()),
            reason => {
                Found::Fails { refuses: reason == Reason::Refused, why: format!("cannot connect: {error}") }
            }
        },
        Ok(Err(Failed::Later(why))) => Found::Bad(why),
        Err(_) => Found::Bad(format!("no answer within {}", common::duration::GoDuration(settings.timeout))),
    }
}

/// Leaves the connection in `open` where it is still to be ended.
async fn examine(
    address: SocketAddr,
    protocol: &Protocol,
    settings: &HealthSettings,
    trust: &Arc<ClientConfig>,
    open: &mut Option<Stream>,
) -> Result<(), Failed> {
    let mut stream = TcpStream::connect(address).await.map_err(Failed::Connect)?;
    let _ = stream.set_nodelay(true);
    let greeted = greet(&mut stream, &protocol.greeting(None), protocol).await;
    greeted.map_err(|error| match error {
        NotGreeted::Broken(error) => Failed::later("the upstream protocol")(error),
        error => Failed::Later(error.to_string()),
    })?;
    if settings.kind == Check::Tcp {
        *open = Some(Box::new(stream));
        return Ok(());
    }
    let name = match &settings.sni {
        // The flags' parser has seen to it that it is one.
        Some(name) => ServerName::try_from(name.clone()).map_err(|error| Failed::Later(error.to_string()))?,
        None => ServerName::from(address.ip()),
    };
    let connected = TlsConnector::from(Arc::clone(trust)).connect(name, stream).await;
    let mut stream: Stream = Box::new(connected.map_err(Failed::later("TLS"))?);
    let asked = match settings.kind {
        Check::Https => ask(&mut stream, address, settings).await,
        Check::Tcp | Check::Tls => Ok(()),
    };
    *open = Some(stream);
    asked
}

/// A stream of either kind.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
type Stream = Box<dyn Duplex>;

/// Asks whether it is ready.
async fn ask(stream: &mut Stream, address: SocketAddr, settings: &HealthSettings) -> Result<(), Failed> {
    let host = settings.sni.clone().unwrap_or_else(|| address.to_string());
    let request = format!(
        "GET /readyz HTTP/1.1\r\nHost: {host}\r\nUser-Agent: apiserver-proxy/{}\r\nAccept: */*\r\nConnection: \
         close\r\n\r\n",
        common::version::version()
    );
    let broken = Failed::later("GET /readyz");
    stream.write_all(request.as_bytes()).await.map_err(&broken)?;
    stream.flush().await.map_err(&broken)?;
    let mut head = Vec::with_capacity(512);
    loop {
        let mut more = (&mut *stream).take((LONGEST_HEAD - head.len()) as u64 + 1);
        let read = more.read_buf(&mut head).await.map_err(&broken)?;
        match answer(&head) {
            // It is there, and wants to know who asks.
            Answer::Open(_) | Answer::Refused(401) => return Ok(()),
            Answer::Refused(status) => {
                return Err(Failed::Later(format!("GET /readyz was answered by {status}")));
            }
            Answer::Partial if read > 0 && head.len() <= LONGEST_HEAD => {}
            Answer::Partial | Answer::Malformed => {
                return Err(Failed::Later("GET /readyz was not answered in HTTP".to_owned()));
            }
        }
    }
}

/// Ends a connection so that neither side is left with half of one: says that all is said, and hears the other side out,
/// since what is not read when a socket is closed makes a reset of it.
async fn end(mut stream: Stream) {
    let mut unread = [0; 2048];
    if stream.shutdown().await.is_ok() {
        let mut left = (&mut *stream).take(GOODBYE.1);
        while left.read(&mut unread).await.is_ok_and(|length| length > 0) {}
    }
}
