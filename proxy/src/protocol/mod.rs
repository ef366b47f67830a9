//! What is said to an upstream before a connection's own bytes. Pure.
//!
//! | protocol | before the bytes | then |
//! |---|---|---|
//! | `tcp` | nothing | |
//! | `proxy-v1`, `proxy-v2` | who connects, and to where | |
//! | `http-connect` | `CONNECT TARGET` | its 2xx is waited for |

pub mod connect;
pub mod tlv;
pub mod v1;
pub mod v2;

use std::net::{IpAddr, SocketAddr};

use self::{connect::Connect, tlv::Tlv};

/// How upstreams are spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Protocol {
    /// As it comes.
    #[default]
    Tcp,
    /// PROXY protocol, in text.
    ProxyV1,
    /// PROXY protocol, in binary, with these besides.
    ProxyV2(Vec<Tlv>),
    /// HTTP CONNECT.
    HttpConnect(Connect),
}

/// Who connects, and to where, as the listener has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The client.
    pub source: SocketAddr,
    /// Our own address that it has reached.
    pub destination: SocketAddr,
}

impl Route {
    /// IPv4 that arrives at a socket of IPv6 is IPv4.
    #[must_use]
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { source: canonical(source), destination: canonical(destination) }
    }
}

impl Protocol {
    /// The first bytes of a connection. Without a route it is one of our own, such as a health check.
    #[must_use]
    pub fn greeting(&self, route: Option<Route>) -> Vec<u8> {
        match self {
            Self::Tcp => Vec::new(),
            Self::ProxyV1 => v1::header(route),
            Self::ProxyV2(tlvs) => v2::header(route, tlvs),
            Self::HttpConnect(connect) => connect.request(),
        }
    }
}

/// Both of one family, or nothing that a header could say.
fn of_one_family(route: Route) -> Option<(IpAddr, IpAddr)> {
    let (source, destination) = (route.source.ip(), route.destination.ip());
    (source.is_ipv4() == destination.is_ipv4()).then_some((source, destination))
}
