//! A thread that carries connections, from their acceptance to their end, on a runtime of its own.
//!
//! All threads accept from the same sockets. Who accepts one and has more to do than another thread hands it over, so that
//! connections that live long are spread.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc::UnboundedReceiver},
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
            accepting.push(tokio::spawn(accept(Arc::clone(&mine), listener)));
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
        // Before the sockets are closed nothing is lost: another process may hold them, too.
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
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
                if idler.inbox.send(Accepted { client, peer }).is_err() {
                    self.shared.closed(idler);
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

async fn accept(mine: Arc<Mine>, listener: TcpListener) {
    loop {
        mine.shared.has_room().await;
        match listener.accept().await {
            Ok((client, peer)) => mine.place(client, peer),
            // That one connection is gone already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections at the moment");
                sleep(REST).await;
            }
        }
    }
}
