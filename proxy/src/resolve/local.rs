//! Which addresses are this machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Whether an address is one of this machine. The kernel says so: the way to an own address begins at that address.
/// Nothing is sent.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let from: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let begin = || {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    // Without a way there it is nobody's.
    begin().is_ok_and(|local| local.ip() == address)
}
