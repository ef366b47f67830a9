//! The fake's process: a thread with a runtime, a port, TLS.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering, mpsc},
    thread::JoinHandle,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{oneshot, watch},
};
use tokio_rustls::TlsAcceptor;

use super::{faults::Faults, handler::handle, store::Store};
use crate::pki::Certificate;

/// What all its requests share.
#[derive(Debug)]
pub(super) struct Shared {
    store: Mutex<Store>,
    pub(super) faults: Faults,
}

impl Shared {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no request panics")
    }
}

/// A fake that runs; it ends when dropped.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) shared: Arc<Shared>,
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(super) fn start(certificate: &Certificate) -> Self {
        let shared = Arc::new(Shared { store: Mutex::new(Store::new()), faults: Faults::new() });
        let acceptor = TlsAcceptor::from(Arc::new(tls(certificate)));
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let kept = bind("127.0.0.1:0".parse().expect("an address"));
                let address = kept.local_addr().expect("bound");
                tell.send(address).expect("someone waits");
                tokio::select! {
                    () = serve(theirs, acceptor, address) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = told.recv().expect("a port");
        shared.faults.outage(false);
        Self { shared, address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket that has the port. The first one never listens: it keeps the port while an outage has closed the one
/// that does.
fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("a port to share");
    socket.bind(address).expect("a free port");
    socket
}

async fn serve(shared: Arc<Shared>, acceptor: TlsAcceptor, address: SocketAddr) {
    let app = Router::new().fallback(handle).with_state(Arc::clone(&shared));
    let mut epoch = shared.faults.epoch.subscribe();
    loop {
        if epoch.wait_for(|epoch| epoch % 2 == 0).await.is_err() {
            return;
        }
        let listener = bind(address).listen(1024).expect("a listener");
        shared.faults.listening.store(true, Ordering::SeqCst);
        tokio::select! {
            () = accept(&listener, &shared, &acceptor, &app) => {}
            _ = epoch.changed() => {}
        }
        drop(listener);
        shared.faults.listening.store(false, Ordering::SeqCst);
    }
}

async fn accept(listener: &TcpListener, shared: &Shared, acceptor: &TlsAcceptor, app: &Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut cut: watch::Receiver<u64> = shared.faults.epoch.subscribe();
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, acceptor, app) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, app: Router) {
    let _ = stream.set_nodelay(true);
    // A client that goes away is no one's fault.
    if let Ok(stream) = acceptor.accept(stream).await {
        let server = auto::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).await;
    }
}

fn tls(certificate: &Certificate) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("protocol versions");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
