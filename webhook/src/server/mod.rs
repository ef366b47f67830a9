//! The server's life: build, run, drain.
//!
//! [`Server::build`] reads certificates and binds; [`Server::run`] serves until a signal. Then, in this order:
//! not ready any more; for `--shutdown-delay` still serving, while Kubernetes takes the replica out of its
//! Service, and asking clients to connect elsewhere; then no new connections, and what runs may finish.

mod activity;
mod connection;
mod listen;
mod places;
mod stage;
mod writes;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use common::{duration::GoDuration, listen::HostPort, shutdown::Signals, version::version, zpages::Flagz};
use tokio::{net::TcpListener, task::JoinHandle};

use self::{
    connection::Service,
    stage::{Phase, Stage},
};
use crate::{
    cert_secret::Keeper,
    certificates::{Certificates, Watched},
    cli::{CertificateSource, Config},
    egress::{self, Egress},
    handler, health,
    health::Health,
    metrics::Metrics,
    overload::Gate,
    self_signed::{self, Authority},
};

/// How long requests that run may take to finish, once the listeners are closed.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// How the certificate is renewed.
#[derive(Debug)]
enum Renewal {
    Files(Watched),
    Secret(Box<Keeper>),
    /// It is made in memory, by this CA.
    Never(Authority),
}

/// A server that is bound, and does not serve yet.
#[derive(Debug)]
pub struct Server {
    webhook: TcpListener,
    health_listener: Option<TcpListener>,
    certificates: Arc<Certificates>,
    renewal: Renewal,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    flagz: Flagz,
    settings: handler::Settings,
    /// The file that says what of the settings changes.
    egress: Option<egress::File>,
    shutdown_delay: GoDuration,
}

impl Server {
    /// Reads certificates and configuration, then binds.
    ///
    /// # Errors
    /// When a certificate or the configuration can't be used, or an address can't be bound.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let (egress, egress_file) = match config.egress_config {
            None => (Egress::none(config.injection), None),
            Some(path) => {
                let loaded = egress::File::load(path, config.injection, config.apiserver_fqdn).await;
                let (egress, file) =
                    loaded.map_err(|why| anyhow::anyhow!("--egress-config cannot be used: {why}"))?;
                (egress, Some(file))
            }
        };
        let egress = Arc::new(egress);
        let (certificates, renewal) = match config.certificates {
            CertificateSource::Files(files) => {
                let (certificates, watched) = Watched::load(files).await?;
                (certificates, Renewal::Files(watched))
            }
            CertificateSource::Secret(place) => {
                let keeper = Keeper::connect(&place, config.clock).await?;
                (Certificates::none(), Renewal::Secret(Box::new(keeper)))
            }
            CertificateSource::InMemory => {
                tracing::warn!(
                    "neither --cert-dir nor --cert-secret: the certificate is made in memory, for trying this out; \
                     only who is given its CA trusts it, and each replica has its own"
                );
                let (material, authority) = self_signed::in_memory(&config.host)?;
                (Certificates::new(&material)?, Renewal::Never(authority))
            }
        };
        let certificates = Arc::new(certificates);
        let address = HostPort { host: config.host, port: config.port };
        let webhook = listen::bind(&address, "--host and --port").await?;
        let health_listener = match &config.health_address {
            None => None,
            Some(address) => Some(listen::bind(address, "--health-bind-address").await?),
        };
        let metrics = Arc::new(Metrics::new());
        let health =
            Arc::new(Health::new(Arc::clone(&certificates), Arc::clone(&egress), Arc::clone(&metrics)));
        let gate = Arc::new(Gate::new(config.limits));
        let settings = handler::Settings { egress, gate, metrics: Arc::clone(&metrics) };
        let shutdown_delay = config.shutdown_delay;
        Ok(Self {
            webhook,
            health_listener,
            certificates,
            renewal,
            health,
            metrics,
            flagz: config.flagz,
            settings,
            egress: egress_file,
            shutdown_delay,
        })
    }

    /// The CA of the certificate that was made in memory, if one was.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        match &self.renewal {
            Renewal::Never(authority) => Some(authority),
            Renewal::Files(_) | Renewal::Secret(_) => None,
        }
    }

    /// Where the webhook listens.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.webhook.local_addr()
    }

    /// Where the health port listens, if there is one.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn health_address(&self) -> Option<io::Result<SocketAddr>> {
        self.health_listener.as_ref().map(TcpListener::local_addr)
    }

    /// Serves until a signal comes and everything is drained; a second signal ends it at once.
    ///
    /// # Errors
    /// When a part of the server ends by itself.
    pub async fn run(self, mut signals: Signals) -> anyhow::Result<()> {
        let (address, health) = (self.address()?, self.health_address().transpose()?);
        let (stage, health_stage) = (Arc::new(Stage::new()), Arc::new(Stage::new()));
        let egress = Arc::clone(&self.settings.egress);
        let webhook = Service {
            certificates: Some(Arc::clone(&self.certificates)),
            router: handler::router(self.settings),
            stage: Arc::clone(&stage),
        };
        let mut tasks = Vec::new();
        if let Some(listener) = self.health_listener {
            let router = health::router(Arc::clone(&self.health), &self.flagz);
            let service = Service { certificates: None, router, stage: health_stage };
            tasks.push(spawn("the health listener", listen::accept(listener, service)));
        }
        if let Some(file) = self.egress {
            let metrics = Arc::clone(&self.metrics);
            tasks.push(spawn("the egress configuration's watch", async move {
                file.watch(&egress, &metrics).await;
            }));
        }
        let (certificates, metrics) = (Arc::clone(&self.certificates), Arc::clone(&self.metrics));
        match self.renewal {
            Renewal::Files(watched) => tasks.push(spawn("the certificate watch", async move {
                watched.watch(&certificates, &metrics).await;
            })),
            Renewal::Secret(keeper) => tasks.push(spawn("the certificate's keeper", async move {
                keeper.run(&certificates, &metrics).await;
            })),
            Renewal::Never(_) => {}
        }
        // The health port says meanwhile what is in the way.
        tokio::select! {
            () = self.certificates.is_there() => {}
            signal = signals.next() => {
                tracing::info!(signal, "ending before there was a certificate");
                return Ok(());
            }
            ended = first_end(&mut tasks) => anyhow::bail!("{ended} ended by itself"),
        }
        tasks.push(spawn("the webhook listener", listen::accept(self.webhook, webhook)));
        self.health.set_serving(true);
        let health = health.map(tracing::field::display);
        tracing::info!(version = version(), %address, health, "serving");

        let signal = tokio::select! {
            signal = signals.next() => signal,
            ended = first_end(&mut tasks) => anyhow::bail!("{ended} ended by itself"),
        };
        // Kubernetes sends SIGTERM; SIGINT comes from a person, who is in no Service and wants to go on.
        let delay = if signal == "SIGINT" { GoDuration(Duration::ZERO) } else { self.shutdown_delay };
        tracing::info!(signal, %delay, "stopping");
        self.health.set_serving(false);
        let drain = async {
            stage.enter(Phase::Leaving);
            tokio::time::sleep(delay.0).await;
            stage.enter(Phase::Closing);
            tokio::time::timeout(DRAIN_TIME, stage.abandoned()).await.is_ok()
        };
        tokio::select! {
            drained = drain => match drained {
                true => tracing::info!("drained, bye"),
                false => tracing::warn!(connections = stage.holders(), "ending; cut what did not finish in time"),
            },
            signal = signals.next() => {
                tracing::warn!(signal, connections = stage.holders(), "second signal, ending at once");
            }
        }
        Ok(())
    }
}

/// A task with a name, for the log.
struct Named(&'static str, JoinHandle<()>);

fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Named {
    Named(name, tokio::spawn(task))
}

/// Waits until one of the tasks ends, which none should, and says which.
async fn first_end(tasks: &mut [Named]) -> &'static str {
    std::future::poll_fn(|context| {
        for Named(name, task) in tasks.iter_mut() {
            if std::pin::Pin::new(task).poll(context).is_ready() {
                return std::task::Poll::Ready(*name);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
