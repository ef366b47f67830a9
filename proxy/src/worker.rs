//! A thread that carries connections, from their acceptance to their end, on a runtime of its own.
//!
//! All threads accept from the same sockets. Who accepts one and has more to do than another thread hands it over, so that
//! connections that live long are spread.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use common::{listen::is_of_one_connection, sparing::Sparing};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, error::SendError},
        watch,
    },
    time::sleep,
};

use crate::{
    session,
    shared::{Accepted, Desk, Phase, Shared},
};

/// How long accepting rests when the system has no more descriptors.
const REST: Duration = Duration::from_millis(100);

/// Carries connections until all have ended, or are to be cut.
///
/// # Errors
/// When the runtime can't be had, or a socket not be watched.
pub fn run(
    shared: &Arc<Shared>,
    number: usize,
    listeners: Vec<std::net::TcpListener>,
    mut inbox: UnboundedReceiver<Accepted>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mine = Arc::new(Mine { shared: Arc::clone(shared), number, over: Notify::new() });
        let mut accepting = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
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

    /// Takes a connection up here, or hands it to a thread that has less to do. It counts from now on.
    fn place(self: &Arc<Self>, client: TcpStream, peer: SocketAddr) {
        let Some(desk) = self.desk() else { return };
        let Some(idler) = self.shared.idler(desk) else {
            self.shared.opened(desk);
            return self.carry(client, peer);
        };
        match client.into_std() {
            Ok(client) => {
                self.shared.opened(idler);
                // A thread that is about to end takes none.
                if let Err(SendError(accepted)) = idler.inbox.send(Accepted { client, peer }) {
                    self.shared.closed(idler);
                    self.shared.opened(desk);
                    self.take_up(accepted);
                }
            }
            Err(error) => tracing::warn!(%peer, %error, "lost a connection between two threads"),
        }
    }

    /// Begins with a connection that another thread has accepted.
    fn take_up(self: &Arc<Self>, Accepted { client, peer }: Accepted) {
        match TcpStream::from_std(client) {
            Ok(client) => self.carry(client, peer),
            Err(error) => {
                tracing::warn!(%peer, %error, "lost a connection between two threads");
                self.desk().into_iter().for_each(|desk| self.shared.closed(desk));
            }
        }
    }

    fn carry(self: &Arc<Self>, client: TcpStream, peer: SocketAddr) {
        let mine = Arc::clone(self);
        tokio::spawn(async move {
            let Some(desk) = mine.desk() else { return };
            session::serve(&mine.shared, &desk.counters, client, peer).await;
            mine.shared.closed(desk);
            mine.over.notify_one();
        });
    }

    async fn all_ended(&self) {
        let open =
            || self.desk().map_or(0, |desk| desk.counters.open.load(std::sync::atomic::Ordering::Relaxed));
        while open() > 0 {
            self.over.notified().await;
        }
    }
}

/// Accepts until that is over.
async fn accept(mine: Arc<Mine>, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
    {
        let mut over = pin!(phase.wait_for(|phase| *phase != Phase::Serving));
        loop {
            let next = async {
                mine.shared.has_room().await;
                listener.accept().await
            };
            let accepted = tokio::select! {
                biased;
                _ = &mut over => break,
                accepted = next => accepted,
            };
            match accepted {
                Ok((client, peer)) => mine.place(client, peer),
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
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((client, peer)) = listener.accept() {
        match client.set_nonblocking(true).and_then(|()| TcpStream::from_std(client)) {
            Ok(client) => mine.place(client, peer),
            Err(error) => tracing::warn!(%peer, %error, "lost a connection at the end"),
        }
    }
}
