//! The least that axum and rustls can do, for `make bench` to hold the webhook against: takes a body in, and answers
//! with the same text each time. It parses nothing, and has no limits, deadlines or counters.
//!
//! ```text
//! bare-server PORT ANSWER
//! ```

use std::sync::Arc;

use anyhow::Context;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    routing::post,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tower::ServiceExt;
use webhook::{handler::PATH, tls};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().context("no PORT")?.parse()?;
    let answer = Bytes::from(args.next().context("no ANSWER")?);
    // As many threads as the webhook has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(port, answer))
}

async fn serve(port: u16, answer: Bytes) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls_configuration()?);
    let constant =
        move |_: Bytes| async move { (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], answer) };
    let router = Router::new().route(PATH, post(constant));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    eprintln!("serving");
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, acceptor.clone(), router.clone()));
    }
}

/// The webhook's own, with a certificate of the same kind.
fn tls_configuration() -> anyhow::Result<Arc<ServerConfig>> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (cert.pem().into_bytes(), signing_key.serialize_pem().into_bytes());
    Ok(tls::configuration(&tls::Material { certificate, key, client_ca: None })?.0)
}

/// Whatever goes wrong ends it, and shows in what the load tool counts.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let _ =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}
