//! `--upstream`: where API servers may be reached. A stand-in: addresses only.

use std::{fmt, net::SocketAddr, str::FromStr};

/// `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream(pub SocketAddr);

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "not HOST:PORT; write 10.0.0.1:6443 or [fd00::1]:6443".to_owned())
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
