//! What a Service is to its clients: one address in front of several servers.
//!
//! New connections go round robin to the servers that are ready. As with kube-proxy, a connection stays where it
//! is whatever becomes of its server, a connection to one that does not listen any more is refused and not tried
//! elsewhere, and all learn late of what changes: readiness travels by probe, EndpointSlice and rules
//! (<https://kubernetes.io/docs/concepts/services-networking/service/>).

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::oneshot,
    time::{sleep, timeout},
};

/// How long a change of readiness takes to reach those who connect, in a cluster that is well.
pub const PROPAGATION: Duration = Duration::from_secs(1);
/// How often a server's readiness is looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// How long it may take to say so; kubelet's default.
const PATIENCE: Duration = Duration::from_secs(1);

/// A server behind the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// Where it serves.
    pub address: SocketAddr,
    /// Where it answers `GET /readyz`, in plain HTTP.
    pub health: SocketAddr,
}

#[derive(Debug)]
struct Entry {
    backend: Backend,
    /// Shall it get connections, and since when is that so?
    ready: bool,
    since: Instant,
    /// Does it get them?
    used: bool,
    leaving: bool,
}

#[derive(Debug)]
struct Shared {
    entries: Mutex<Vec<Entry>>,
    next: AtomicUsize,
    refused: AtomicU64,
    propagation: Duration,
}

/// A balancer that runs; it ends when dropped, with all its connections.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Starts one without servers on a free port of 127.0.0.1. What changes about a server counts after
    /// `propagation`.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(propagation: Duration) -> Self {
        let (entries, next, refused) = (Mutex::default(), AtomicUsize::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { entries, next, refused, propagation });
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                tell.send((listener.local_addr().expect("bound"), Handle::current())).expect("someone waits");
                tokio::select! {
                    () = serve(&listener, &theirs) => {}
                    _ = stopped => {}
                }
            });
        });
        let (address, runtime) = told.recv().expect("a port");
        Self { address, shared, runtime, stop: Some(stop), thread: Some(thread) }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a server: it gets connections once it is ready, and that has got about.
    pub fn add(&self, backend: Backend) {
        let entry = Entry { backend, ready: false, since: Instant::now(), used: false, leaving: false };
        self.shared.entries().push(entry);
        self.runtime.spawn(look(Arc::clone(&self.shared), backend));
    }

    /// Removes a server, ready or not, as the deletion of its Pod does: it gets no connections once that has got
    /// about.
    pub fn remove(&self, backend: Backend) {
        let mut entries = self.shared.entries();
        entries.iter_mut().filter(|entry| entry.backend == backend).for_each(|entry| entry.leaving = true);
    }

    /// The servers that get new connections.
    #[must_use]
    pub fn in_use(&self) -> Vec<Backend> {
        self.shared.in_use()
    }

    /// How many connections were reset because no server was there for them.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().expect("nothing panics with it")
    }

    fn in_use(&self) -> Vec<Backend> {
        self.entries().iter().filter(|entry| entry.used).map(|entry| entry.backend).collect()
    }

    /// Notes what was seen of a server; is it still one?
    fn note(&self, backend: Backend, ready: bool) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.iter_mut().find(|entry| entry.backend == backend) else { return false };
        let ready = ready && !entry.leaving;
        if entry.ready != ready {
            (entry.ready, entry.since) = (ready, Instant::now());
        }
        if entry.since.elapsed() >= self.propagation {
            entry.used = ready;
        }
        entries.retain(|entry| entry.used || !entry.leaving);
        true
    }
}

/// Looks at a server's readiness for as long as it is one.
async fn look(shared: Arc<Shared>, backend: Backend) {
    loop {
        let ready = matches!(timeout(PATIENCE, readyz(backend.health)).await, Ok(Ok(true)));
        if !shared.note(backend, ready) {
            return;
        }
        sleep(PERIOD).await;
    }
}

async fn readyz(health: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(health).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(head == *b"HTTP/1.1 200")
}

async fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let backends = shared.in_use();
        let turn = shared.next.fetch_add(1, Ordering::Relaxed);
        let backend = backends.get(turn % backends.len().max(1)).copied();
        tokio::spawn(carry(Arc::clone(shared), client, backend));
    }
}

/// Carries a connection. What ends in an error ends in a reset on both sides: the client of a Service sees the
/// server's own.
async fn carry(shared: Arc<Shared>, mut client: TcpStream, backend: Option<Backend>) {
    let server = match backend {
        Some(backend) => TcpStream::connect(backend.address).await.ok(),
        None => None,
    };
    let Some(mut server) = server else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if copy_bidirectional(&mut client, &mut server).await.is_err() {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}
