//! A thread that carries connections, from their acceptance to their end, on a runtime of its own.
//!
//! All threads accept from the same sockets. Who accepts one and has more to do than another thread hands it over, so that
//! connections that live long are spread.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, mpsc::UnboundedReceiver},
    time::sleep,
};

use crate::{
    session,
    shared::{Accepted, Desk, Phase, Shared},
};

/// How many connections are accepted before others have their turn.
const BATCH: usize = 16;
/// How long accepting rests when the system has no more descriptors.
const REST: Duration = Duration::from_millis(100);

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
            let listener = AsyncFd::register(listener)?;
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

    /// Begins with a connection.
    fn take_up(self: &Arc<Self>, Accepted { client, peer }: Accepted) {
        let mine = Arc::clone(self);
        tokio::spawn(async move {
            let Some(desk) = mine.desk() else { return };
            mine.shared.opened(desk);
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

async fn accept(mine: Arc<Mine>, listener: AsyncFd<TcpListener>) {
    loop {
        mine.shared.has_room().await;
        let Ok(mut ready) = listener.readable().await else { return };
        for _ in 0..BATCH {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match ready.try_io(|listener| Ok(acceptfrom_with(listener, flags)?)) {
                Ok(Ok((client, peer))) => {
                    let Some(peer) = peer.and_then(|peer| peer.try_into().ok()) else { continue };
                    place(&mine, Accepted { client: client.into(), peer });
                }
                // That one connection is gone already.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot accept connections at the moment");
                    sleep(REST).await;
                    break;
                }
                Err(_would_block) => break,
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Takes a connection up here, or hands it to a thread that has less to do.
fn place(mine: &Arc<Mine>, accepted: Accepted) {
    let idler = mine.desk().and_then(|desk| mine.shared.idler(desk));
    match idler {
        Some(desk) => {
            if let Err(returned) = desk.inbox.send(accepted) {
                mine.take_up(returned.0);
            }
        }
        None => mine.take_up(accepted),
    }
}
