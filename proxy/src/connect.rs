//! From endpoints to a connection with one of them.
//!
//! The best endpoint is tried first, the next one when that has failed, or a moment later when it is still silent; the
//! first that answers is taken. Source of the moment: RFC 8305 section 5 (Happy Eyeballs).
//!
//! An endpoint that has been silent for that moment when another one answers is suspected: connections that come later
//! prefer others, until its next check, which is asked for. A packet that was lost looks the same, so that is all that
//! follows from it.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use common::sparing::Sparing;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};

use crate::{
    balance,
    counters::Counters,
    endpoint::{Endpoint, Occupied},
    shared::{Settings, Shared},
};

/// How long an endpoint may be silent before the next one is tried as well.
const STAGGER: Duration = Duration::from_millis(250);

/// Why no endpoint was reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// There is none.
    #[error("there is no endpoint")]
    None,
    /// None answered in time.
    #[error("no endpoint answered within {}", common::duration::GoDuration(*.0))]
    Late(Duration),
    /// The last one that was tried.
    #[error("{0}: {1}")]
    Failed(SocketAddr, #[source] io::Error),
}

/// What a failed connect says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nobody listens there.
    Refused,
    /// No answer.
    Timeout,
    /// No answer yet when another endpoint, asked later, had one.
    Overtaken,
    /// No way there.
    Unreachable,
    /// Nothing: we are out of descriptors, ports or memory.
    Ours,
    /// Anything else.
    Other,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Timeout, Self::Overtaken, Self::Unreachable, Self::Ours, Self::Other];

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Overtaken => "overtaken",
            Self::Unreachable => "unreachable",
            Self::Ours => "ours",
            Self::Other => "other",
        }
    }

    /// Of what the system said.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use rustix::io::Errno;
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED | Errno::CONNRESET) => Self::Refused,
            Some(Errno::TIMEDOUT) => Self::Timeout,
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::ACCESS | Errno::PERM) => Self::Unreachable,
            Some(
                Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::ADDRNOTAVAIL
                | Errno::AGAIN,
            ) => Self::Ours,
            _ if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// A connect that has not ended.
struct Attempt {
    begun: Instant,
    occupied: Occupied,
    connecting: Connecting,
}

/// Connects to an endpoint, within the settings' time.
///
/// # Errors
/// When none was reached.
pub async fn connect(
    shared: &Shared,
    counters: &Counters,
    settings: &Arc<Settings>,
    random: &mut fastrand::Rng,
) -> Result<(TcpStream, Occupied), Unreachable> {
    let (endpoints, turn) = (shared.endpoints.load_full(), shared.next_turn());
    let begun = Instant::now();
    let deadline = begun + settings.connect_timeout;
    let (mut tried, mut last) = (Vec::new(), Unreachable::None);
    let mut running: Vec<Attempt> = Vec::new();
    loop {
        let next = balance::next(settings.balance, endpoints.all(), &tried, turn, random);
        let is_last = next.is_none();
        if let Some(endpoint) = next {
            tried.push(endpoint.address);
            running.push(attempt(endpoint, settings));
        } else if running.is_empty() {
            return Err(last);
        }
        let until = if is_last { deadline } else { deadline.min(Instant::now() + STAGGER) };
        match timeout_at(until, first(&mut running)).await {
            Ok((occupied, Ok(stream))) => {
                counters.reached.observe(begun.elapsed());
                overtaken(counters, &running, occupied.endpoint());
                return Ok((stream, occupied));
            }
            Ok((occupied, Err(error))) => {
                failed(counters, occupied.endpoint(), &error);
                last = Unreachable::Failed(occupied.endpoint().address, error);
            }
            Err(_) if Instant::now() >= deadline => {
                running.iter().for_each(|_| counters.failed(Reason::Timeout));
                return Err(Unreachable::Late(settings.connect_timeout));
            }
            Err(_) => {}
        }
    }
}

/// The first attempt that ends; it is taken out.
async fn first(running: &mut Vec<Attempt>) -> (Occupied, io::Result<TcpStream>) {
    let (index, done) = std::future::poll_fn(|context| {
        for (index, attempt) in running.iter_mut().enumerate() {
            if let std::task::Poll::Ready(done) = attempt.connecting.as_mut().poll(context) {
                return std::task::Poll::Ready((index, done));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    (running.swap_remove(index).occupied, done)
}

fn attempt(endpoint: &Arc<Endpoint>, settings: &Arc<Settings>) -> Attempt {
    let (address, settings) = (endpoint.address, Arc::clone(settings));
    let connecting = Box::pin(async move {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        tune(&socket, &settings);
        socket.connect(address).await
    });
    Attempt { begun: Instant::now(), occupied: endpoint.occupy(), connecting }
}

/// Sets what both sides of a connection have. What can't be set is done without.
pub fn tune<'a>(socket: impl Into<SockRef<'a>>, settings: &Settings) {
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(true);
    // What is said next acknowledges as well: the client's first bytes, and the upstream's part of the handshake.
    let _ = socket.set_tcp_quickack(false);
    let keepalive = TcpKeepalive::new().with_time(settings.keepalive).with_interval(settings.keepalive);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(settings.user_timeout));
}

/// Acknowledges what has come, where nothing is to be said at the moment ([`tune`] has put that off).
pub fn acknowledge(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_tcp_quickack(true);
}

/// A connect that fails says more than the last check. One that fails for want of our own means says nothing.
fn failed(counters: &Counters, endpoint: &Endpoint, error: &io::Error) {
    let reason = Reason::of(error);
    counters.failed(reason);
    if reason != Reason::Ours && endpoint.set_health(false, reason == Reason::Refused) {
        endpoint.ask_for_check();
        tracing::warn!(endpoint = %endpoint.address, %error, "endpoint failed: a connect did");
    }
}

/// What `running` holds when another endpoint has answered was silent for too long, or has only begun.
fn overtaken(counters: &Counters, running: &[Attempt], by: &Endpoint) {
    for attempt in running.iter().filter(|attempt| attempt.begun.elapsed() >= STAGGER) {
        counters.failed(Reason::Overtaken);
        let endpoint = attempt.occupied.endpoint();
        if endpoint.suspect() {
            endpoint.ask_for_check();
            static LINES: Sparing = Sparing::new();
            if let Some(left_out) = LINES.turn() {
                tracing::info!(endpoint = %endpoint.address, answered = %by.address, left_out, "endpoint suspected: a connect was overtaken by another");
            }
        }
    }
}
