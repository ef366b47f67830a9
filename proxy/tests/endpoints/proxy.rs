//! The library's parts put together as the program has them, on threads of their own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use proxy::{
    cli::Config,
    endpoint::{Endpoint, Endpoints},
    health::{self, Check, HealthSettings},
    listen,
    protocol::Protocol,
    resolve::{self, Sources},
    shared::{Phase, Settings, Shared},
    worker,
};
use testkit::eventually;
use tokio::sync::watch;

/// A proxy that listens.
pub struct Proxy {
    pub shared: Arc<Shared>,
    pub address: SocketAddr,
    pub sources: watch::Sender<Sources>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Checks that don't take long.
pub fn checks(kind: Check) -> HealthSettings {
    HealthSettings {
        kind,
        sni: None,
        interval: Duration::from_millis(200),
        // Long enough for TLS on a machine that is busy with other tests.
        timeout: Duration::from_secs(3),
    }
}

/// Checks that never come.
pub fn no_checks() -> HealthSettings {
    HealthSettings { interval: Duration::from_secs(100_000), ..checks(Check::Tcp) }
}

/// Upstreams, as flags have them.
pub fn upstreams(texts: &[&str]) -> Sources {
    Sources { upstreams: texts.iter().map(|text| text.parse().unwrap()).collect(), ..Sources::default() }
}

impl Proxy {
    /// Listens on any port of 127.0.0.1, in the calling thread's namespace.
    pub fn start(sources: Sources, protocol: Protocol, checks: HealthSettings) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), sources, protocol, checks)
    }

    pub fn listen(
        address: SocketAddr,
        mut sources: Sources,
        protocol: Protocol,
        checks: HealthSettings,
    ) -> Self {
        // All else by default.
        let line = ["apiserver-proxy", "--listen=127.0.0.1:1", "--upstream=127.0.0.1:2"].map(Into::into);
        let (Config { settings, .. }, _) = Config::from_command_line(line).unwrap();
        let settings = Settings { protocol, ..settings };
        let listener = listen::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        sources.own = vec![address];
        let (inbox, outbox) = tokio::sync::mpsc::unbounded_channel();
        let shared = Shared::new(settings, Endpoints::default(), vec![inbox]);
        // As one that has been there for a while, which does not check at once.
        shared.note_answer();
        let (sources, sources_seen) = watch::channel(sources);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let theirs = [Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared)];
        let [carried, kept, watched] = theirs;
        let carrying = std::thread::spawn(move || worker::run(&carried, 0, vec![listener], outbox).unwrap());
        let keeping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (_settings, settings_seen) = watch::channel(checks);
            runtime.block_on(async {
                tokio::select! {
                    never = resolve::keep(kept, sources_seen) => match never {},
                    never = health::watch(watched, settings_seen) => match never {},
                    _ = stopped => {}
                }
            });
        });
        Self { shared, address, sources, stop: Some(stop), threads: vec![carrying, keeping] }
    }

    /// One of the endpoints, in the order of their addresses.
    pub fn endpoint(&self, index: usize) -> Arc<Endpoint> {
        Arc::clone(&self.shared.endpoints.load().all()[index])
    }

    /// The endpoints, healthy ones as they are, others with a `!`.
    pub fn endpoints(&self) -> String {
        let shown = |endpoint: &Arc<Endpoint>| {
            format!("{}{}", if endpoint.is_healthy() { "" } else { "!" }, endpoint.address)
        };
        self.shared.endpoints.load().all().iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    /// Waits for them.
    #[track_caller]
    pub fn wait_for(&self, expected: &str) {
        let seen = || self.endpoints();
        eventually(|| format!("{expected:?}, not {:?}", seen()), || (seen() == expected).then_some(()));
    }

    /// A connection through it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }
}

/// Whether what is sent comes back.
pub fn echoes(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping")?;
    let mut back = [0; 4];
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"ping");
    Ok(())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.phase.send_replace(Phase::Cut);
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            // What it panicked with has been printed.
            let _ = thread.join();
        }
    }
}
