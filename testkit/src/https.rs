//! A small HTTP/1.1 client over TLS that does one thing after the other, so that a test knows on which
//! connection a request went and what became of it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// One connection to a server of `localhost`.
#[derive(Debug)]
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header lines, lower case.
    pub headers: String,
    /// All of it.
    pub body: Vec<u8>,
}

/// Trusts one CA, and shows no certificate.
///
/// # Panics
/// When the CA is none.
#[must_use]
pub fn client(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a CA");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("protocol versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Whatever goes wrong with either.
    ///
    /// # Panics
    /// Never in practice.
    pub fn open(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Self { stream: StreamOwned::new(tls, tcp) })
    }

    /// Whether the handshake went on from one before, and so showed no certificates.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The serial number of the server's certificate, as the last bytes of its DER integer.
    #[must_use]
    pub fn shows_serial(&self, serial: u64) -> bool {
        let shown = self.stream.conn.peer_certificates().and_then(<[_]>::first);
        let wanted: Vec<u8> = serial.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        // Version (explicit, v3), then the serial number.
        let head = shown.map(|der| der.iter().copied().take(40).collect::<Vec<u8>>()).unwrap_or_default();
        let Some(at) = head.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]) else { return false };
        let number = head.get(at + 5..).unwrap_or_default();
        let length = usize::from(number.get(1).copied().unwrap_or_default());
        number.get(2..2 + length).is_some_and(|bytes| bytes.strip_prefix(&[0]).unwrap_or(bytes) == wanted)
    }

    /// Sends the beginning of something; [`Connection::finish`] reads the answer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Posts JSON and waits for the answer.
    ///
    /// # Errors
    /// When the connection is gone, or what comes is not HTTP.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut request = post_head(path, body.len()).into_bytes();
        request.extend_from_slice(body);
        self.send(&request)?;
        self.finish()
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When the connection is gone, or what comes is not HTTP.
    pub fn finish(&mut self) -> io::Result<Answer> {
        let (status, headers) = self.head()?;
        let body = self.body(&headers)?;
        Ok(Answer { status, headers, body })
    }

    /// Reads the status and the header lines, lower case, of an answer.
    ///
    /// # Errors
    /// When the connection is gone, or what comes is not HTTP.
    pub fn head(&mut self) -> io::Result<(u16, String)> {
        let head = self.until(b"\r\n\r\n")?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(|| not_http(&head))?, head))
    }

    /// Reads the body after a head.
    ///
    /// # Errors
    /// When the connection is gone, or the head does not say how long it is.
    pub fn body(&mut self, headers: &str) -> io::Result<Vec<u8>> {
        if headers.contains("transfer-encoding: chunked") {
            let mut body = Vec::new();
            loop {
                match self.chunk()? {
                    chunk if chunk.is_empty() => return Ok(body),
                    chunk => body.extend(chunk),
                }
            }
        }
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|length| length.trim().parse().ok()).ok_or_else(|| not_http(headers))?;
        self.exactly(length)
    }

    /// Reads a chunk of a chunked body; the last one is empty.
    ///
    /// # Errors
    /// When the connection is gone, or what comes is no chunk.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.until(b"\r\n")?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(|_| not_http(&line))?;
        let chunk = self.exactly(length)?;
        self.exactly(2)?;
        Ok(chunk)
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn until(&mut self, end: &[u8]) -> io::Result<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn not_http(text: &str) -> io::Error {
    io::Error::other(format!("not an answer: {text}"))
}

/// The head of a POST of JSON.
#[must_use]
pub fn post_head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}
