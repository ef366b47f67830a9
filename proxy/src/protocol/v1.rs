//! The PROXY protocol, version 1.
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.1.

use std::net::IpAddr;

use super::{Route, of_one_family};

/// The line; without a route `UNKNOWN`.
#[must_use]
pub fn header(route: Option<Route>) -> Vec<u8> {
    let known = route.and_then(|route| Some((route, of_one_family(route)?)));
    let line = match known {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some((route, (source, destination))) => {
            let family = if matches!(source, IpAddr::V4(_)) { "TCP4" } else { "TCP6" };
            let ports = format!("{} {}", route.source.port(), route.destination.port());
            format!("PROXY {family} {source} {destination} {ports}\r\n")
        }
    };
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_and_none() {
        let header = |source: &str, destination: &str| {
            let route = Route::new(source.parse().unwrap(), destination.parse().unwrap());
            String::from_utf8(header(Some(route))).unwrap()
        };
        assert_eq!(header("10.0.0.1:5000", "10.96.0.2:443"), "PROXY TCP4 10.0.0.1 10.96.0.2 5000 443\r\n");
        assert_eq!(header("[fd00::1]:5000", "[fd00::2]:443"), "PROXY TCP6 fd00::1 fd00::2 5000 443\r\n");
        assert_eq!(
            header("[::ffff:10.0.0.1]:5000", "[::ffff:10.96.0.2]:443"),
            "PROXY TCP4 10.0.0.1 10.96.0.2 5000 443\r\n"
        );
        assert_eq!(header("10.0.0.1:5000", "[fd00::2]:443"), "PROXY UNKNOWN\r\n");
        assert_eq!(super::header(None), b"PROXY UNKNOWN\r\n");
    }
}
