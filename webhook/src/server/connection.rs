//! One connection: TLS, then HTTP, until it ends or has to.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, header},
};
use common::sparing::Sparing;
use hyper::{body::Incoming, server::conn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{Phase, stage::Stage};
use crate::{certificates::Certificates, handler::Peer};

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How long a connection may stay without a request.
const IDLE_TIME: Duration = Duration::from_secs(120);
/// How long the headers of a request may take, the wait for their first byte included.
const HEADER_TIME: Duration = IDLE_TIME;
/// How long an HTTP/1.1 connection without a request may stay when the server closes: one may be on its way.
const LAST_REQUEST_TIME: Duration = Duration::from_secs(1);
/// How long a client may take to leave once it was told to, and nothing of its runs.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// What a connection serves.
#[derive(Clone)]
pub(super) struct Service {
    /// Without, plain HTTP/1.1.
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) router: Router,
    pub(super) stage: Arc<Stage>,
}

pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    service: Service,
    phase: watch::Receiver<Phase>,
) {
    // Answers are small and complete: never hold them back. A socket that refuses this is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let Some(certificates) = &service.certificates else {
        return http(stream, peer, false, service, phase).await;
    };
    let handshake = TlsAcceptor::from(certificates.config()).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
        Ok(Ok(stream)) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            http(stream, peer, http2, service, phase).await;
        }
        // A client that refuses our certificate shows here and nowhere else. One that just leaves is a probe.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            static LINES: Sparing = Sparing::new();
            if let Some(left_out) = LINES.turn() {
                tracing::warn!(%peer, %error, left_out, "TLS handshake failed");
            }
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake broke off"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

/// What runs on a connection.
struct Activity {
    requests: AtomicUsize,
    since: Mutex<Instant>,
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Running {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// For how long nothing has run.
    fn idle(&self) -> Duration {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Waits until nothing has run for that long.
    async fn idle_for(&self, long: Duration) {
        while let Some(left) = long.checked_sub(self.idle()).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left).await;
        }
    }
}

/// A request that runs.
struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    http2: bool,
    service: Service,
    mut phase: watch::Receiver<Phase>,
) {
    let activity = Arc::new(Activity { requests: AtomicUsize::new(0), since: Mutex::new(Instant::now()) });
    let Service { router, stage, .. } = service;
    let answer = {
        let activity = Arc::clone(&activity);
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let (router, running) = (router.clone(), activity.begin());
            let close = !http2 && stage.is_leaving();
            request.extensions_mut().insert(Peer(peer));
            async move {
                let mut response: Response<Body> = router.oneshot(request.map(Body::new)).await?;
                if close {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                drop(running);
                Ok::<_, std::convert::Infallible>(response)
            }
        })
    };
    // HTTP/2 clients are sent elsewhere as soon as the server is leaving (GOAWAY ends nothing that runs), those
    // that come later only at the end. HTTP/1.1 has no such message but the header on an answer.
    let from = if http2 && *phase.borrow() == Phase::Serving { Phase::Leaving } else { Phase::Closing };
    let sent_away = async {
        // The phase's sender outlives every connection.
        let _ = phase.wait_for(|phase| *phase >= from).await.is_ok();
        if !http2 {
            tokio::time::sleep(LAST_REQUEST_TIME).await;
        }
    };
    let time_to_go = async {
        tokio::select! {
            () = activity.idle_for(IDLE_TIME) => {}
            () = sent_away => {}
        }
    };
    // Each kind of connection by its own builder: one for both waits without limit for the first bytes.
    macro_rules! run {
        ($connection:expr) => {{
            let mut connection = pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = time_to_go => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = activity.idle_for(LEAVE_TIME + activity.idle()) => Ok(()),
                    }
                }
            }
        }};
    }
    let stream = TokioIo::new(stream);
    let ended = if http2 {
        run!(
            conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(stream, answer)
        )
    } else {
        let mut builder = conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
        run!(builder.serve_connection(stream, answer))
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection failed");
    }
}
