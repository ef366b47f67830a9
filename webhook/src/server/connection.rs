//! Accepting connections and serving HTTP on them.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderValue, header},
};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::certificates::Certificates;

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How long a connection may wait for the next request's headers, idle time between requests included.
const HEADER_TIME: Duration = Duration::from_secs(120);
/// How long a connection on which nothing was asked yet may stay when the server closes.
const FIRST_REQUEST_TIME: Duration = Duration::from_secs(1);
/// How long to wait when the process or the machine has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// As usual.
    Serving,
    /// Still serving, but asking clients to connect elsewhere.
    Leaving,
    /// No new connections; those there are end after their request.
    Closing,
}

/// A listener and what it serves.
pub(super) struct Endpoint {
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    router: Router,
}

impl Endpoint {
    pub(super) fn https(listener: TcpListener, certificates: Arc<Certificates>, router: Router) -> Self {
        Self { listener, certificates: Some(certificates), router }
    }

    pub(super) fn http(listener: TcpListener, router: Router) -> Self {
        Self { listener, certificates: None, router }
    }

    /// Accepts and serves until the phase is [`Phase::Closing`]; the connections go on by themselves, each with
    /// a receiver of `phase`.
    pub(super) async fn serve(self, mut phase: watch::Receiver<Phase>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = phase.wait_for(|phase| *phase == Phase::Closing) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let serving =
                        connection(stream, self.certificates.clone(), self.router.clone(), phase.clone());
                    tokio::spawn(serving);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections; waiting");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
}

/// Errors of accept(2) that are about the connection, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    certificates: Option<Arc<Certificates>>,
    router: Router,
    phase: watch::Receiver<Phase>,
) {
    // Answers are small and complete: never hold them back. A socket that refuses this is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let Some(certificates) = certificates else { return http(stream, false, router, phase).await };
    let handshake = TlsAcceptor::from(certificates.config()).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
        Ok(Ok(stream)) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            http(stream, http2, router, phase).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    router: Router,
    mut phase: watch::Receiver<Phase>,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder.http2().timer(TokioTimer::new());
    let used = Arc::new(AtomicBool::new(false));
    let (leaving, in_use) = (phase.clone(), Arc::clone(&used));
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        in_use.store(true, Ordering::Relaxed);
        let (router, leaving) = (router.clone(), *leaving.borrow() != Phase::Serving);
        async move {
            let mut response = router.oneshot(request.map(axum::body::Body::new)).await?;
            if leaving && !http2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // HTTP/2 clients are sent elsewhere as soon as the server is leaving (GOAWAY ends nothing that runs), those
    // that come later only at the end. HTTP/1.1 has no such message but the header on an answer.
    let from = if http2 && *phase.borrow() == Phase::Serving { Phase::Leaving } else { Phase::Closing };
    let time_to_go = async {
        // The phase's sender outlives every connection.
        let _ = phase.wait_for(|phase| *phase >= from).await;
        // Whoever has just connected is about to ask something.
        if !used.load(Ordering::Relaxed) {
            tokio::time::sleep(FIRST_REQUEST_TIME).await;
        }
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = time_to_go => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection failed");
    }
}
