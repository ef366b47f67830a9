//! A thread that carries connections, from their acceptance to their end, on a runtime of its own.
//!
//! All threads accept from the same sockets. Who accepts one and has more to do than another thread hands it over, so that
//! connections that live long are spread.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use common::{listen::is_of_one_connection, sparing::Sparing};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, error::SendError},
        watch,
    },
    time::{sleep, timeout},
};

use crate::{
    connect::tune,
    session,
    shared::{Accepted, Desk, Phase, Shared},
};

/// How long accepting rests when the system has no more descriptors.
const REST: Duration = Duration::from_millis(100);
/// How often a thread that is about to end looks whether all its connections have.
const LOOK: Duration = Duration::from_millis(100);

/// Carries connections until all have ended, or are to be cut.
///
/// # Errors
/// When the runtime can't be had, or a socket not be watched.
pub fn run(
    shared: &Arc<Shared>,
    number: usize,
    listeners: Vec<TcpListener>,
    mut inbox: UnboundedReceiver<Accepted>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mine = Arc::new(Mine { shared: Arc::clone(shared), number, over: Notify::new() });
        let mut accepting = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = watch_for_clients(listener)?;
            accepting.push(tokio::spawn(accept(Arc::clone(&mine), listener, shared.phase.subscribe())));
        }
        let mut phase = shared.phase.subscribe();
        loop {
            tokio::select! {
                changed = phase.wait_for(|phase| *phase != Phase::Serving) => {
                    drop(changed);
                    break;
                }
                Some(accepted) = inbox.recv() => mine.take_up(accepted),
            }
        }
        for accepting in accepting {
            // Fails only if it panicked.
            let _ = accepting.await;
        }
        inbox.close();
        while let Some(accepted) = inbox.recv().await {
            mine.take_up(accepted);
        }
        tokio::select! {
            () = mine.all_ended() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Cut) => {}
        }
        Ok(())
    })
}

struct Mine {
    shared: Arc<Shared>,
    number: usize,
    /// Told when a connection has ended.
    over: Notify,
}

impl Mine {
    fn desk(&self) -> Option<&Desk> {
        self.shared.desks.get(self.number)
    }

    /// Takes a connection up here, or hands it to a thread that has less to do. Its place is reserved.
    fn place(self: &Arc<Self>, accepted: Accepted) {
        let Some(desk) = self.desk() else { return };
        let accepted = match self.shared.idler(desk) {
            None => accepted,
            Some(idler) => {
                idler.opened();
                // A thread that is about to end takes none.
                let Err(SendError(accepted)) = idler.inbox.send(accepted) else { return };
                idler.closed();
                accepted
            }
        };
        desk.opened();
        self.take_up(accepted);
    }

    /// Begins with a connection that was placed here.
    fn take_up(self: &Arc<Self>, Accepted { client, peer }: Accepted) {
        match TcpStream::from_std(client) {
            Ok(client) => self.carry(client, peer),
            Err(error) => {
                tracing::warn!(%peer, %error, "lost a connection that was just accepted");
                self.desk().into_iter().for_each(Desk::closed);
                self.shared.give_back();
            }
        }
    }

    fn carry(self: &Arc<Self>, client: TcpStream, peer: SocketAddr) {
        let mine = Arc::clone(self);
        tokio::spawn(async move {
            let Some(desk) = mine.desk() else { return };
            session::serve(&mine.shared, &desk.counters, &client, &peer).await;
            drop(client);
            desk.closed();
            mine.shared.give_back();
            mine.over.notify_one();
        });
    }

    async fn all_ended(&self) {
        let open =
            || self.desk().map_or(0, |desk| desk.counters.open.load(std::sync::atomic::Ordering::Relaxed));
        while open() > 0 {
            // Whoever counted one here that it then kept does not tell.
            let _ = timeout(LOOK, self.over.notified()).await;
        }
    }
}

/// Not as Tokio's listener, which binds what it accepts to the thread that may be about to hand it over.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for types that change their descriptor; this one does not"
)]
fn watch_for_clients(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

/// Accepts until that is over.
async fn accept(mine: Arc<Mine>, listener: AsyncFd<TcpListener>, mut phase: watch::Receiver<Phase>) {
    {
        let mut over = pin!(phase.wait_for(|phase| *phase != Phase::Serving));
        let mut tuned = None;
        loop {
            let next = async {
                loop {
                    // Where somebody waits, so that nobody holds a place for whoever may come.
                    let accepted = listener.async_io(Interest::READABLE, |listener| {
                        if !mine.shared.reserve() {
                            return Ok(None);
                        }
                        accept_one(listener).map(Some).inspect_err(|_| mine.shared.give_back())
                    });
                    match accepted.await.transpose() {
                        Some(accepted) => return accepted,
                        None => mine.shared.has_room().await,
                    }
                }
            };
            // Connections have what their listener has, so that it need not be said of each (tcp(7)).
            let settings = mine.shared.settings.load();
            if tuned.as_ref().is_none_or(|tuned| !Arc::ptr_eq(tuned, &settings)) {
                tune(listener.get_ref(), &settings);
                tuned = Some(Arc::clone(&settings));
            }
            drop(settings);
            let accepted = tokio::select! {
                biased;
                _ = &mut over => break,
                accepted = next => accepted,
            };
            match accepted {
                Ok(accepted) => mine.place(accepted),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    static LINES: Sparing = Sparing::new();
                    if let Some(left_out) = LINES.turn() {
                        tracing::warn!(%error, left_out, "cannot accept connections at the moment");
                    }
                    sleep(REST).await;
                }
            }
        }
    }
    // What waits in the queue would be reset if no other process holds the socket.
    loop {
        match accept_one(listener.get_ref()) {
            Ok(accepted) => {
                mine.shared.reserve_regardless();
                mine.place(accepted);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => break,
        }
    }
}

/// The next connection in a socket's queue, non-blocking.
fn accept_one(listener: &TcpListener) -> io::Result<Accepted> {
    let (client, peer) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let client = std::net::TcpStream::from(client);
    // Only a socket that is not TCP's has no such address.
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.map_or_else(|| client.peer_addr(), Ok)?;
    Ok(Accepted { client, peer })
}
