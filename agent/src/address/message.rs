//! Addresses and devices as messages. Pure.
//!
//! Source: `include/uapi/linux/{if_addr,if_link}.h`.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo},
    link::{LinkAttribute, LinkFlags, LinkMessage},
};
use rtnetlink::{LinkDummy, LinkMessageBuilder, LinkUnspec};

use crate::{
    plan::{Link, Present},
    wanted::{InterfaceName, LocalAddress},
};

/// IFA_PROTO of our addresses, on kernels that keep it (5.18 and later): says who added an address. The kernel's own
/// numbers are 1 to 3; this one is free, and not used by a program that we know of.
pub const MARK: AddressProtocol = AddressProtocol::Other(0xa9);
/// IFLA_IFALIAS of our devices.
pub const ALIAS: &str = "created by apiserver-proxy-sidecar";

/// Reads a device.
#[must_use]
pub fn link_of(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let alias =
        |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfAlias(alias) if alias == ALIAS);
    let loopback = flags.contains(LinkFlags::Loopback);
    Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        loopback,
        // Whatever somebody calls it.
        ours: !loopback && message.attributes.iter().any(alias),
    }
}

/// Reads a device's name.
#[must_use]
pub fn name_of(message: &LinkMessage) -> Option<InterfaceName> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => name.parse().ok(),
        _ => None,
    })
}

/// A dummy device. The kernel takes its alias only once it is there.
#[must_use]
pub fn new_device(name: &InterfaceName) -> LinkMessage {
    LinkDummy::new(name.as_str()).build()
}

/// What makes a new device ours, and brings it up.
#[must_use]
pub fn mark_device(name: &InterfaceName) -> LinkMessage {
    LinkMessageBuilder::<LinkUnspec>::new().name(name.as_str()).alias(ALIAS).up().build()
}

/// Reads an address.
#[must_use]
pub fn present_of(message: &AddressMessage) -> Option<Present> {
    let marked = message.attributes.contains(&AddressAttribute::Protocol(MARK));
    Some(Present { net: net_of(message)?, index: message.header.index, marked })
}

/// The address of a dumped message: IFA_LOCAL, or IFA_ADDRESS where that is the only one (IPv6). Where they differ
/// it is one end of a point-to-point link, and nothing that we could have added.
fn net_of(message: &AddressMessage) -> Option<IpNet> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    if local.is_some() && address.is_some() && local != address {
        return None;
    }
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

/// What names an address on a device.
#[must_use]
pub fn address(index: u32, address: LocalAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.net().prefix_len();
    message.header.family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.attributes = vec![AddressAttribute::Local(address.ip()), AddressAttribute::Address(address.ip())];
    message
}

/// An address as it is added: never picked as the source of other traffic, and usable at once.
#[must_use]
pub fn new_address(index: u32, local: LocalAddress) -> AddressMessage {
    let mut message = address(index, local);
    message.attributes.push(AddressAttribute::Protocol(MARK));
    match local.ip() {
        IpAddr::V4(_) => message.header.scope = AddressScope::Host,
        IpAddr::V6(_) => {
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = 0;
            lifetime.ifa_valid = u32::MAX;
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}
