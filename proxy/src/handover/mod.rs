//! Listening sockets that go from an older process to a newer one, so that a restart loses no connection.
//!
//! A connection is lost when it waits in the queue of a socket that is closed; so the socket must not close. A newer
//! process asks the older one for it: from then on both hold the same socket and its one queue, and the older one just
//! stops accepting when it is told to end.
//!
//! It asks at an abstract Unix socket (unix(7)) named for the listen address; such names live in the network namespace,
//! which is what the two have in common. With the listening socket it gets the socket of the name as well: who asks next
//! reaches whichever process still looks at it, and the name is gone when the last one is, however that ends. The older
//! one's end of that connection stays open while it accepts.
//!
//! | the older one | then |
//! |---|---|
//! | is not there | the address is bound |
//! | answers | both hold the same socket |
//! | is another user's, or nobody of ours | its answer is not asked for; the address is bound if it is free |
//! | is silent for two seconds | the address is bound if it is free; else the start fails |
//! | ends at that moment | it is asked, and the address tried, again for two seconds |
//!
//! Each address goes by itself: what an older one has is taken over, the rest is bound.

mod ask;
mod message;
mod serve;

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as Name, UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use self::ask::{Answer, ask};
pub use self::serve::serve;
use crate::listen::{ListenError, bind};

/// How long an older process may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// An address that is listened on.
#[derive(Debug)]
pub struct Listening {
    /// Where, the port that was found included.
    pub address: SocketAddr,
    /// Where clients come.
    pub socket: TcpListener,
    /// Where a newer process asks for it; none if the name can't be had.
    name: Option<UnixListener>,
    /// Whether an older process had it.
    pub taken_over: bool,
    /// That process, as long as nobody takes it out of here.
    pub older: Option<Older>,
}

/// An older process that accepts connections from a socket of ours: its end of the connection by which it gave it is open
/// for so long.
#[derive(Debug)]
pub struct Older(UnixStream);

impl Older {
    /// Waits until it accepts no more, however that comes.
    pub async fn gone(self) {
        let watched = self.0.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(self.0));
        if let Ok(older) = watched {
            serve::ended(older).await;
        }
    }
}

/// The name at which a socket can be asked for.
fn name_of(address: SocketAddr) -> io::Result<Name> {
    Name::from_abstract_name(format!("apiserver-proxy/listen/{address}"))
}

/// Takes over each of the addresses that an older process listens on, and binds the others. Blocks, for two seconds an
/// address at most.
///
/// # Errors
/// When one can't be had.
pub fn obtain(addresses: &[SocketAddr]) -> Result<Vec<Listening>, ListenError> {
    addresses.iter().map(|address| one(*address)).collect()
}

fn one(address: SocketAddr) -> Result<Listening, ListenError> {
    let deadline = Instant::now() + PATIENCE;
    let mut told = BTreeSet::new();
    loop {
        match if address.port() == 0 { Answer::Nobody } else { ask(address, deadline) } {
            Answer::Sockets(socket, name, older) => {
                let (name, older) = (Some(name), Some(older));
                return Ok(Listening { address, socket, name, taken_over: true, older });
            }
            Answer::Nobody => {}
            Answer::No(why) => {
                // Each once: which of them is the one that matters is not for us to know.
                if !told.contains(&why) {
                    tracing::warn!(%address, why, "no socket can be taken over; binding the address");
                    told.insert(why);
                }
            }
        }
        match bind(address) {
            Ok(socket) => {
                let address = socket.local_addr().unwrap_or(address);
                let name = name_of(address).and_then(|name| UnixListener::bind_addr(&name)).ok();
                return Ok(Listening { address, socket, name, taken_over: false, older: None });
            }
            // Whoever has it may be about to end, or about to listen at its name.
            Err(ListenError::Taken(_)) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
