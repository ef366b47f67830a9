//! The program's life: sockets, threads, tasks, and their end.
//!
//! Connections are carried by threads of their own; all else (names, checks, pages, the file, hand-over, signals) happens
//! on one more, the program's first.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use common::{
    duration::GoDuration,
    shutdown::Signals,
    version::version,
    zpages::{self, Subject},
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot, watch,
    },
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    begin,
    cli::{Config, PROGRAM, Source},
    connect::tune,
    descriptors,
    endpoint::Endpoints,
    handover::{self, Listening},
    health,
    listen::ListenError,
    reload::{self, Receivers},
    resolve,
    shared::{Accepted, Phase, Shared},
    status::Status,
    worker,
};

/// How long threads may take to end once all connections are cut.
const LAST: Duration = Duration::from_secs(5);

/// Why the program ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A runtime, a thread or the signal handlers could not be set up.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
    /// An address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread that carries connections ended before its time.
    #[error("a thread that carries connections has ended: {0}")]
    Thread(String),
    /// One of the tasks that never end has.
    #[error("a task of the program has ended: {0}")]
    Task(String),
}

/// Runs until a signal comes.
///
/// # Errors
/// [`Failed`], for exit code 1.
pub fn run(config: Config, source: Option<Source>) -> Result<(), Failed> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::System)?;
    let outcome = runtime.block_on(live(config, source));
    // Not by dropping it: that would wait for a file system that hangs.
    runtime.shutdown_background();
    outcome
}

async fn live(config: Config, source: Option<Source>) -> Result<(), Failed> {
    let mut signals = Signals::install().map_err(Failed::System)?;
    tracing::info!(
        version = version(),
        threads = config.threads,
        upstreams = config.sources.upstreams.len(),
        discover = config.sources.discover,
        "starting"
    );
    let mut listening = handover::obtain(&config.listen)?;
    for Listening { address, socket, taken_over, .. } in &listening {
        // Before a thread does, since those who come until then keep what the socket has now.
        tune(socket, &config.settings);
        tracing::info!(%address, taken_over, "listening");
    }
    let older = listening.iter_mut().filter_map(|listening| listening.older.take()).collect();
    let (inboxes, outboxes): (Vec<_>, Vec<_>) = (0..config.threads).map(|_| unbounded_channel()).unzip();
    let shared = Shared::new(config.settings.clone(), Endpoints::default(), inboxes);
    shared.limit(descriptors::raise(config.settings.max_connections));
    let sockets = sockets(&listening, outboxes).map_err(Failed::System)?;
    let current = Arc::new(ArcSwap::from_pointee(config.clone()));
    let addresses: Vec<_> = listening.iter().map(|listening| listening.address).collect();
    let status = Arc::new(Status::new(Arc::clone(&shared), Arc::clone(&current), &addresses));

    let mut tasks = JoinSet::new();
    serve_pages(&mut tasks, &config, &status);
    let (sources, from_sources) = watch::channel(config.sources);
    let (health, from_health) = watch::channel(config.health);
    tasks.spawn(resolve::keep(Arc::clone(&shared), from_sources));
    tasks.spawn(health::watch(Arc::clone(&shared), from_health));
    tasks.spawn(begin::tell(Arc::clone(&shared)));
    let receivers = Receivers { shared: Arc::clone(&shared), sources, health, config: Arc::clone(&current) };
    match source {
        Some(source) => drop(tasks.spawn(reload::keep(source, receivers, Arc::clone(&status)))),
        // The senders live as long as those who listen to them.
        None => drop(tasks.spawn(async move {
            let _receivers = receivers;
            std::future::pending().await
        })),
    }

    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping before the start: no endpoint is known, or has answered yet");
            return Ok(());
        }
        failed = ended(&mut tasks) => return Err(failed),
        () = begin::turn(&shared, older) => {}
    }
    let mut threads = start(&shared, sockets).map_err(Failed::System)?;
    // In a task of its own: its end closes the sockets that it holds.
    let giving = tokio::spawn(handover::serve(listening));
    status.accepting();
    tracing::info!(endpoints = shared.endpoints.load().all().len(), "accepting connections");
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "stopping"),
        failed = ended(&mut tasks) => return Err(failed),
        ended = threads.join_next() => return Err(Failed::Thread(why(ended))),
    }
    giving.abort();
    shared.phase.send_replace(Phase::Draining);
    drain(&shared, &mut threads, &mut signals, current.load().drain_timeout).await;
    Ok(())
}

/// What each thread needs: its connections from others, and a copy of each socket.
type Sockets = Vec<(UnboundedReceiver<Accepted>, Vec<std::net::TcpListener>)>;

fn sockets(listening: &[Listening], outboxes: Vec<UnboundedReceiver<Accepted>>) -> io::Result<Sockets> {
    let copies = || listening.iter().map(|listening| listening.socket.try_clone()).collect::<Result<_, _>>();
    outboxes.into_iter().map(|outbox| Ok((outbox, copies()?))).collect()
}

/// Starts the threads; what comes of each is told once it has ended.
fn start(shared: &Arc<Shared>, sockets: Sockets) -> io::Result<JoinSet<Result<(), String>>> {
    let mut threads = JoinSet::new();
    for (number, (inbox, listeners)) in sockets.into_iter().enumerate() {
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(shared);
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            // Nobody listens any more once the program ends.
            let _ = tell.send(worker::run(&shared, number, listeners, inbox));
        })?;
        threads.spawn(async move {
            let ended = told.await.map_err(|_| "it panicked".to_owned())?;
            ended.map_err(|error| error.to_string())
        });
    }
    Ok(threads)
}

/// Answers whoever asks how it goes.
fn serve_pages(tasks: &mut JoinSet<Infallible>, config: &Config, status: &Arc<Status>) {
    let router = zpages::router(PROGRAM.name, &config.flagz, Arc::clone(status) as Arc<dyn Subject>);
    if let Some(address) = &config.health_address {
        tasks.spawn(zpages::serve_tcp(address.clone(), router.clone()));
    }
    if let Some(path) = &config.probe_socket {
        tasks.spawn(zpages::serve_unix(path.clone(), router));
    }
}

/// Waits for what does not happen.
async fn ended(tasks: &mut JoinSet<Infallible>) -> Failed {
    match tasks.join_next().await {
        Some(Err(error)) => Failed::Task(error.to_string()),
        Some(Ok(never)) => match never {},
        None => std::future::pending().await,
    }
}

fn why(ended: Option<Result<Result<(), String>, tokio::task::JoinError>>) -> String {
    match ended {
        Some(Ok(Err(why))) => why,
        Some(Err(error)) => error.to_string(),
        Some(Ok(Ok(()))) | None => "without a reason".to_owned(),
    }
}

/// Lets connections end, until time is up or a second signal comes.
async fn drain(
    shared: &Shared,
    threads: &mut JoinSet<Result<(), String>>,
    signals: &mut Signals,
    time: Duration,
) {
    tracing::info!(open = shared.open(), timeout = %GoDuration(time), "no more connections are accepted; letting those that are open end");
    let all_ended = async { while threads.join_next().await.is_some() {} };
    tokio::select! {
        () = all_ended => {
            tracing::info!("all connections have ended");
            return;
        }
        () = sleep(time) => tracing::warn!(open = shared.open(), "time is up; cutting the connections that are left"),
        signal = signals.next() => {
            tracing::warn!(signal, open = shared.open(), "told again; cutting the connections that are left");
        }
    }
    shared.phase.send_replace(Phase::Cut);
    let all_ended = async { while threads.join_next().await.is_some() {} };
    if timeout(LAST, all_ended).await.is_err() {
        tracing::warn!("threads hang; ending without them");
    }
}
