//! The client of an exec probe: one question over the Unix socket of
//! [`serve_unix`](super::serve_unix).

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, Socket, Type};

use super::unix;

/// How long it all may take.
const TIME: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// What to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `/livez?verbose`
    Live,
    /// `/readyz?verbose`
    Ready,
}

impl Page {
    fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez?verbose",
            Self::Ready => "/readyz?verbose",
        }
    }
}

/// Why the answer is no.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The program says so.
    #[error("{report}")]
    Unhealthy {
        /// The HTTP status, such as 503.
        status: u16,
        /// The page's text.
        report: String,
    },
    /// There is no answer.
    #[error("no answer on {socket}: {cause}; does the program run, and with this path?")]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Asks the program behind a Unix socket, and gives the page's text where all is well. Blocks for three seconds at
/// most; needs no runtime.
///
/// # Errors
/// When the answer is not 200, or there is none in time.
pub fn probe(socket: &Path, page: Page) -> Result<String, ProbeError> {
    probe_within(socket, page, TIME)
}

pub(super) fn probe_within(socket: &Path, page: Page, time: Duration) -> Result<String, ProbeError> {
    let answer = ask(socket, page, Instant::now() + time);
    let (status, report) =
        answer.map_err(|cause| ProbeError::NoAnswer { socket: socket.to_owned(), cause })?;
    if status == 200 { Ok(report) } else { Err(ProbeError::Unhealthy { status, report }) }
}

fn ask(path: &Path, page: Page, deadline: Instant) -> io::Result<(u16, String)> {
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // For connect(2) as well, which waits where the listener's queue is full.
    socket.set_write_timeout(Some(left(deadline)?))?;
    socket.connect(&unix::address(path)?).map_err(late)?;
    if unix::is_abstract(path) {
        // Not by rustix, which takes the process's number for one above 0: a program in another PID namespace has none here.
        let uid = getsockopt(&socket, PeerCredentials)?.uid();
        if !unix::is_ours(uid) {
            return Err(io::Error::other(format!("the name is that of a process of user {uid}")));
        }
    }
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", page.path());
    // Shorter than the socket's buffer: this does not wait.
    socket.write_all(request.as_bytes()).map_err(late)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let count = socket.read(&mut buffer).map_err(late)?;
        answer.extend(buffer.iter().take(count));
        if count == 0 {
            return parse(&answer).ok_or_else(|| io::Error::other("the answer is not HTTP/1.1"));
        }
        if answer.len() > LONGEST_ANSWER {
            return Err(io::Error::other(format!("the answer is longer than {LONGEST_ANSWER} bytes")));
        }
    }
}

/// Never zero, which would mean without limit.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late(io::ErrorKind::WouldBlock.into())) } else { Ok(left) }
}

/// A time limit of a socket shows as EAGAIN.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it takes too long"),
        _ => error,
    }
}

/// Status and body. Our server sends a short text as it is, without chunks.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (version, rest) = head.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok()?;
    version.starts_with("HTTP/1.").then(|| (status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let parsed = |answer: &str| parse(answer.as_bytes());
        assert_eq!(parsed("HTTP/1.1 200 OK\r\na: b\r\n\r\nok"), Some((200, "ok".to_owned())));
        assert_eq!(parsed("HTTP/1.1 503 \r\n\r\n"), Some((503, String::new())));
        for answer in
            ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-x y\r\n\r\n", "HTTP/1.1 2\r\n\r\n", "HTTP/1.1\r\n\r\n"]
        {
            assert_eq!(parsed(answer), None, "{answer:?}");
        }
    }
}
