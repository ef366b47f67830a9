//! One connection of the load.

use std::{io, sync::Arc};

use futures_util::FutureExt;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Plan;
use crate::https::post_head;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    served: u64,
    close: bool,
}

/// A connection that broke under a request.
#[derive(Debug)]
pub(super) enum Lost {
    /// Before anything of the request was written, on a connection that had served another.
    Again(io::Error),
    /// In any other way.
    ForGood(io::Error),
}

impl Connection {
    /// Connects and shakes hands.
    pub(super) async fn open(plan: &Plan) -> Result<Self, String> {
        let stream = TcpStream::connect(plan.address).await.map_err(|error| format!("connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::clone(&plan.trust));
        let stream = connector.connect(name, stream).await.map_err(|error| format!("handshake: {error}"))?;
        Ok(Self { stream, served: 0, close: false })
    }

    /// How many requests it has served.
    pub(super) fn served(&self) -> u64 {
        self.served
    }

    /// May there be another request? Not after `Connection: close`.
    pub(super) fn is_kept(&self) -> bool {
        !self.close
    }

    /// The connection, unless the server has closed it: nothing is to come on one that is idle. Go notices in the
    /// same way, by a read that is always under way.
    pub(super) fn if_alive(mut self) -> Option<Self> {
        let mut byte = [0];
        self.stream.read(&mut byte).now_or_never().is_none().then_some(self)
    }

    /// Posts and reads the answer; its status.
    pub(super) async fn post(&mut self, plan: &Plan) -> Result<u16, Lost> {
        let mut request = post_head(&plan.path, plan.body.len()).into_bytes();
        request.extend_from_slice(&plan.body);
        // A new connection whose server hangs up at once would do so again.
        let unwritten = if self.served > 0 { Lost::Again } else { Lost::ForGood };
        let first = self.stream.write(&request).await.map_err(unwritten)?;
        self.stream.write_all(request.get(first..).unwrap_or_default()).await.map_err(Lost::ForGood)?;
        self.stream.flush().await.map_err(Lost::ForGood)?;
        let status = self.answer().await.map_err(Lost::ForGood)?;
        self.served += 1;
        Ok(status)
    }

    async fn answer(&mut self) -> io::Result<u16> {
        let mut read = Vec::with_capacity(1024);
        let head = loop {
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
            }
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(read.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let bad = || io::Error::other(format!("no answer of HTTP: {text}"));
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).ok_or_else(bad)?;
        while read.len() < head + length {
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within an answer"));
            }
        }
        self.close = text.contains("\r\nconnection: close\r\n");
        Ok(status)
    }
}

#[cfg(test)]
impl std::os::fd::AsRawFd for Connection {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.stream.get_ref().0.as_raw_fd()
    }
}
