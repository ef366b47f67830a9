//! HTTP/2 while the server stops, with hyper's client: what an API server that speaks it meets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{Request, StatusCode, body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use testkit::https;
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::fixture::{PATH, Serving, serve};

pub type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;
pub type Sender = http2::SendRequest<Body>;

/// A connection, and the task that ends when it does.
pub async fn connect(serving: &Serving) -> (Sender, JoinHandle<()>) {
    let mut config = (*https::client(serving.authority.pem())).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(serving.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

/// A POST; the query begins with `?`.
pub fn request(query: &str, body: Body) -> Request<Body> {
    let uri = format!("https://localhost{PATH}{query}");
    Request::post(uri).header("content-type", "application/json").body(body).unwrap()
}

pub fn seed() -> Bytes {
    std::fs::read(testkit::testdata("admission.json")).unwrap().into()
}

/// A body, and where its pieces go in.
pub fn in_pieces() -> (mpsc::Sender<Bytes>, Body) {
    let (piece, mut pieces) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures_util::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }));
    (piece, BodyExt::boxed(body))
}

async fn post(sender: &mut Sender) -> StatusCode {
    sender.send_request(request("", Full::new(seed()).boxed())).await.unwrap().status()
}

#[tokio::test]
async fn clients_are_sent_elsewhere_and_lose_nothing() {
    let serving = serve(&["--shutdown-delay=1h"]);
    let (mut idle, idle_ended) = connect(&serving).await;
    assert_eq!(post(&mut idle).await, 200);

    let (mut busy, busy_ended) = connect(&serving).await;
    let (piece, body) = in_pieces();
    let answer = tokio::spawn(busy.send_request(request("", body)));
    let all = seed();
    piece.send(all.slice(..100)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    serving.running.signal(Signal::SIGTERM);
    serving.running.wait_for("stopping");
    // GOAWAY: the idle connection ends by itself, the busy one after its request.
    tokio::time::timeout(Duration::from_secs(10), idle_ended).await.expect("no GOAWAY").unwrap();
    assert!(!busy_ended.is_finished());
    piece.send(all.slice(100..)).await.unwrap();
    drop(piece);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    tokio::time::timeout(Duration::from_secs(10), busy_ended).await.expect("no GOAWAY").unwrap();

    let (mut late, _) = connect(&serving).await;
    assert_eq!(post(&mut late).await, 200, "whoever comes during the delay is served");
    serving.running.signal(Signal::SIGTERM);
    assert!(serving.running.wait().0.success());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let serving = serve(&["--shutdown-delay=0"]);
    let (mut sender, _) = connect(&serving).await;
    assert_eq!(post(&mut sender).await, 200);
    let (status, printed) = serving.running.stop();
    assert!(status.success() && printed.contains("drained"), "{printed}");
}
