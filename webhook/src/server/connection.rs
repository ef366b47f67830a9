//! One connection: TLS, then HTTP, until it ends or has to.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
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
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{
    Phase,
    activity::{Activity, Heads},
    places::{self, BRIEF, Place},
    stage::{Stage, State},
    writes::Writes,
};
use crate::{certificates::Certificates, handler::Peer};

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// What the kernel keeps of answers that nobody reads, in bytes; by itself it would keep megabytes, which count for
/// the container's limit too.
const SEND_BUFFER: usize = 64 * 1024;
/// How long a connection may stay without a request.
const IDLE_TIME: Duration = Duration::from_secs(120);
/// Longest piece of an HTTP/1.1 connection, in bytes, that is read ahead of what its request asks for; a head must
/// fit. What requests that wait for their turn cost is outside of what is counted.
const READ_AHEAD: usize = 32 * 1024;
/// The same of a stream of HTTP/2, and of what waits to be written there.
const WINDOW: u32 = 16 * 1024;
/// Requests at once on an HTTP/2 connection. Each may have its whole window waiting; if together they could fill the
/// connection's, those that wait for a slot would hold up the bodies of those that have one.
const STREAMS: u32 = 32;
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
    state: watch::Receiver<State>,
    mut place: Place,
) {
    // Answers are small and complete: never hold them back. A socket that refuses this is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let stream = Writes::new(stream);
    let Some(certificates) = &service.certificates else {
        return http(stream, peer, false, service, state).await;
    };
    let Some(config) = certificates.config() else { return };
    let handshake = async {
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if http2 {
            place.widen().await;
        }
        Ok::<_, std::io::Error>((stream, http2))
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(HANDSHAKE_TIME, handshake) => ended,
        () = places::is_wanted(state.clone(), Instant::now()) => {
            return tracing::debug!(%peer, "TLS handshake gave way to others");
        }
    };
    match ended {
        Ok(Ok((stream, http2))) => http(stream, peer, http2, service, state).await,
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

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    http2: bool,
    service: Service,
    mut state: watch::Receiver<State>,
) {
    let activity = Activity::new();
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
    let from = if http2 && state.borrow().phase == Phase::Serving { Phase::Leaving } else { Phase::Closing };
    let sent_away = async {
        let idle = || activity.idle() >= BRIEF;
        // The sender outlives every connection.
        let told = state.wait_for(|state| state.phase >= from || state.crowded && idle()).await;
        let crowded = told.is_ok_and(|state| state.phase < from);
        if !http2 && !crowded {
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
    let ended = if http2 {
        run!(
            conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW * STREAMS)
                .max_send_buf_size(WINDOW as usize)
                .max_concurrent_streams(STREAMS)
                .serve_connection(TokioIo::new(stream), answer)
        )
    } else {
        let mut builder = conn::http1::Builder::new();
        // The head's own time is the stream's business.
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIME).max_buf_size(READ_AHEAD);
        let stream = Heads::new(stream, Arc::clone(&activity));
        run!(builder.serve_connection(TokioIo::new(stream), answer))
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection failed");
    }
}
