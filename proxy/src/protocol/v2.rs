//! The PROXY protocol, version 2.
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2.

use std::net::IpAddr;

use super::{Route, of_one_family, tlv::Tlv};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and a connection of our own.
const LOCAL: u8 = 0x20;
/// Version 2, and a connection of somebody else.
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header with its TLVs; without a route `LOCAL`.
#[must_use]
pub fn header(route: Option<Route>, tlvs: &[Tlv]) -> Vec<u8> {
    let (mut family, mut rest) = (UNSPEC, Vec::new());
    if let Some(route) = route
        && let Some((source, destination)) = of_one_family(route)
    {
        family = if source.is_ipv4() { TCP_OVER_IPV4 } else { TCP_OVER_IPV6 };
        for address in [source, destination] {
            match address {
                IpAddr::V4(address) => rest.extend(address.octets()),
                IpAddr::V6(address) => rest.extend(address.octets()),
            }
        }
        rest.extend(route.source.port().to_be_bytes());
        rest.extend(route.destination.port().to_be_bytes());
    }
    tlvs.iter().for_each(|tlv| tlv.write(&mut rest));
    let mut header = SIGNATURE.to_vec();
    header.extend([if route.is_some() { PROXY } else { LOCAL }, family]);
    // The flags' parser keeps the TLVs shorter than that.
    header.extend(u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes());
    header.extend(rest);
    header
}
