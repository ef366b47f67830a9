//! `host:port` as Go writes it, and a TCP listener there.

use std::{
    fmt, io,
    net::{Ipv6Addr, SocketAddr},
    str::FromStr,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

const BACKLOG: i32 = 1024;

/// Where to listen.
///
/// Source of the form: <https://pkg.go.dev/net#Listen>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address; empty for all addresses of both families.
    pub host: String,
    /// 0 for any that is free.
    pub port: u16,
}

/// The text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not host:port; write :9440, 127.0.0.1:9440 or [::1]:9440, or nothing to turn it off")]
pub struct NotHostPort;

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(NotHostPort)?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // Without brackets the colons of an IPv6 address are ambiguous.
        if in_brackets.is_none() && host.contains([':', '[', ']']) {
            return Err(NotHostPort);
        }
        let port = port.parse().map_err(|_| NotHostPort)?;
        Ok(Self { host: in_brackets.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// For a flag that an empty text turns off.
///
/// # Errors
/// When the text is neither empty nor a [`HostPort`].
pub fn parse_optional(text: &str) -> Result<Option<HostPort>, NotHostPort> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

impl HostPort {
    /// Listens there; of a name's addresses, on the first that works.
    ///
    /// # Errors
    /// What the system said of the last one tried. It does not name the address.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        if self.host.is_empty() {
            return match listen((Ipv6Addr::UNSPECIFIED, self.port).into()) {
                // A machine without IPv6.
                Err(error) if error.raw_os_error() == Some(AFNOSUPPORT) => {
                    listen(([0, 0, 0, 0], self.port).into())
                }
                bound => bound,
            };
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in tokio::net::lookup_host((self.host.as_str(), self.port)).await? {
            match listen(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// EAFNOSUPPORT of Linux.
const AFNOSUPPORT: i32 = 97;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 as well, whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    // A port whose last connections are still in TIME_WAIT is free.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether an error of accept(2) is about one connection, and not about the listener.
#[must_use]
pub fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_in_go() {
        for (text, address) in [
            (":9440", Some(("", 9440))),
            ("127.0.0.1:0", Some(("127.0.0.1", 0))),
            ("[::1]:9440", Some(("::1", 9440))),
            ("localhost:1", Some(("localhost", 1))),
            ("", None),
        ] {
            let address = address.map(|(host, port)| HostPort { host: host.to_owned(), port });
            assert_eq!(parse_optional(text), Ok(address.clone()), "{text}");
            assert_eq!(address.map(|address| address.to_string()).unwrap_or_default(), text);
        }
        for text in ["9440", "::1", "::1:9440", ":x", "host:", "host:70000", "[::1", "[::1:1", "a]:1"] {
            assert_eq!(parse_optional(text), Err(NotHostPort), "{text}");
        }
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let listener = HostPort { host: String::new(), port: 0 }.bind().await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "::1"] {
            tokio::net::TcpStream::connect((address, port)).await.expect(address);
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let taken = HostPort { host: "127.0.0.1".to_owned(), port: 0 }.bind().await.unwrap();
        let address: HostPort = taken.local_addr().unwrap().to_string().parse().unwrap();
        assert_eq!(address.bind().await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
