//! Endpoints of all kinds.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use socket2::SockRef;
use testkit::{pki::Authority, process::sh};

/// What becomes of connections to it.
#[derive(Debug, Clone)]
pub enum Kind {
    /// What is sent comes back.
    Echo,
    /// Nothing, ever.
    Silent,
    /// A reset as soon as it is accepted.
    Resetting,
    /// TLS, and what comes then is answered with that status.
    Https(u16),
    /// The same, a while later.
    Slow(Duration),
    /// This comes first, is answered with that, and then it is as the other.
    After(Vec<u8>, &'static str, Box<Kind>),
}

/// A server; it stops accepting when dropped.
pub struct Server {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// How connections ended.
    ends: Arc<Mutex<Vec<String>>>,
    streams: Arc<Mutex<HashMap<u64, TcpStream>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Puts an address on `lo`, and starts a server there.
pub fn serve(address: &str, kind: Kind) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    sh(&format!("ip addr replace {} dev lo nodad", address.ip()));
    let listener = TcpListener::bind(address).unwrap();
    let (stop, ends) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
    let streams = Arc::<Mutex<HashMap<u64, TcpStream>>>::default();
    let tls = tls();
    let theirs = (Arc::clone(&stop), Arc::clone(&ends), Arc::clone(&streams));
    let thread = std::thread::spawn(move || {
        let ((stop, ends, streams), mut number) = (theirs, 0_u64);
        for stream in listener.incoming() {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            number += 1;
            let mine = number;
            streams.lock().unwrap().insert(mine, stream.try_clone().unwrap());
            let (kind, tls, ends) = (kind.clone(), Arc::clone(&tls), Arc::clone(&ends));
            let streams = Arc::clone(&streams);
            std::thread::spawn(move || {
                let end = match behave(stream, &kind, &tls) {
                    Ok(()) => "ended".to_owned(),
                    Err(error) => format!("{:?}", error.kind()),
                };
                streams.lock().unwrap().remove(&mine);
                ends.lock().unwrap().push(end);
            });
        }
    });
    Server { address, stop, ends, streams, thread: Some(thread) }
}

fn tls() -> Arc<ServerConfig> {
    let certificate = Authority::new("endpoints").issue(1);
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap())
}

fn behave(mut stream: TcpStream, kind: &Kind, tls: &Arc<ServerConfig>) -> std::io::Result<()> {
    match kind {
        Kind::Echo => {
            let mut bytes = [0; 4096];
            loop {
                match stream.read(&mut bytes)? {
                    0 => return Ok(()),
                    length => stream.write_all(&bytes[..length])?,
                }
            }
        }
        Kind::Silent => {
            let mut bytes = [0; 4096];
            while stream.read(&mut bytes)? > 0 {}
            Ok(())
        }
        Kind::Resetting => SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
        Kind::Https(status) => answer(stream, *status, tls),
        Kind::Slow(wait) => {
            std::thread::sleep(*wait);
            answer(stream, 200, tls)
        }
        Kind::After(first, said, kind) => {
            let mut bytes = vec![0; first.len()];
            stream.read_exact(&mut bytes)?;
            if bytes != *first {
                return Err(std::io::Error::other(format!(
                    "{:?} came first",
                    String::from_utf8_lossy(&bytes)
                )));
            }
            stream.write_all(said.as_bytes())?;
            behave(stream, kind, tls)
        }
    }
}

fn answer(stream: TcpStream, status: u16, tls: &Arc<ServerConfig>) -> std::io::Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(tls)).unwrap(), stream);
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            // Only TLS was wanted.
            Ok(0) => return Ok(()),
            Ok(_) => head.push(byte[0]),
            Err(error) => return Err(error),
        }
    }
    assert!(head.starts_with(b"GET /readyz HTTP/1.1\r\nHost: "), "{}", String::from_utf8_lossy(&head));
    write!(stream, "HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
    stream.conn.send_close_notify();
    stream.flush()?;
    // Up to the client's end.
    while stream.read(&mut byte)? > 0 {}
    Ok(())
}

impl Server {
    /// How connections have ended that it did not end itself.
    pub fn ends(&self) -> Vec<String> {
        self.ends.lock().unwrap().clone()
    }

    /// Ends as a process does that is killed: its connections are reset, nobody listens any more.
    pub fn kill(mut self) {
        self.stop();
        for (_, stream) in self.streams.lock().unwrap().drain() {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Wakes it up.
            match TcpStream::connect_timeout(&self.address, Duration::from_secs(1)) {
                Ok(_) => thread.join().unwrap(),
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(_) => drop(thread),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
