//! The node's devices and addresses, over rtnetlink.
//!
//! Source: rtnetlink(7), `include/uapi/linux/if_addr.h`.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
    link::LinkFlags,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use crate::{
    plan::{AddressChange, Link},
    wanted::{InterfaceName, LocalAddress},
};

/// Why devices or addresses could not be read or changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// No such device.
    #[error("interface {0} does not exist; see which do with ip link")]
    NoInterface(InterfaceName),
    /// The kernel refused for want of a capability.
    #[error(
        "cannot {0}: the kernel does not permit it; the agent needs CAP_NET_ADMIN in the node's network namespace"
    )]
    Denied(String),
    /// The kernel refused for another reason.
    #[error("cannot {action}: {cause}")]
    Refused {
        /// What was tried.
        action: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The answer was not what rtnetlink promises.
    #[error("cannot {action}: {cause}")]
    Protocol {
        /// What was tried.
        action: String,
        /// What came.
        cause: rtnetlink::Error,
    },
    /// What was written is not there.
    #[error("{0} was added, but is not there afterwards, so something else on this node removes it")]
    NotSeen(LocalAddress),
    /// A device of somebody else is down.
    #[error("interface {0} is down and not the loopback device; bring it up with ip link set {0} up")]
    Down(InterfaceName),
}

impl AddressError {
    fn new(action: String, error: rtnetlink::Error) -> Self {
        let rtnetlink::Error::NetlinkError(message) = &error else {
            return Self::Protocol { action, cause: error };
        };
        let cause = message.to_io();
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied(action),
            _ => Self::Refused { action, cause },
        }
    }

    /// The kernel's error number, if it was the kernel that refused.
    fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { cause, .. } => cause.raw_os_error(),
            _ => None,
        }
    }
}

/// A connection to the kernel. Needs a runtime for as long as it lives.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open() -> Result<Self, AddressError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(AddressError::Open)?;
        // Ends by itself once the handle is dropped.
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Looks a device up by its name.
    ///
    /// # Errors
    /// [`AddressError::NoInterface`] when there is none.
    pub async fn link(&self, name: &InterfaceName) -> Result<Link, AddressError> {
        let answer = self.handle.link().get().match_name(name.as_str().to_owned()).execute().try_next().await;
        let message = answer.map_err(|error| AddressError::new(format!("look up interface {name}"), error));
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Err(AddressError::NoInterface(name.clone())),
            Err(error) if error.errno() == Some(nix::libc::ENODEV) => {
                return Err(AddressError::NoInterface(name.clone()));
            }
            Err(error) => return Err(error),
        };
        let flags = message.header.flags;
        Ok(Link {
            index: message.header.index,
            up: flags.contains(LinkFlags::Up),
            loopback: flags.contains(LinkFlags::Loopback),
        })
    }

    /// The addresses on a device, of both families.
    ///
    /// # Errors
    /// When the dump fails.
    pub async fn addresses(&self, link: Link) -> Result<Vec<IpNet>, AddressError> {
        let dump = self.handle.address().get().set_link_index_filter(link.index).execute();
        let messages: Vec<AddressMessage> = dump
            .try_collect()
            .await
            .map_err(|error| AddressError::new("list addresses".to_owned(), error))?;
        Ok(messages.iter().filter_map(net_of).collect())
    }

    /// Carries one change out. An address that is there already when it is to be added, or gone already when it
    /// is to be removed, is success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn apply(&self, link: Link, change: AddressChange) -> Result<(), AddressError> {
        let (action, answer, fine) = match change {
            AddressChange::LinkUp => {
                let up = LinkMessageBuilder::<LinkUnspec>::new().index(link.index).up().build();
                let answer = self.handle.link().set(up).execute().await;
                ("bring the interface up".to_owned(), answer, None)
            }
            AddressChange::Add(address) => {
                let mut request =
                    self.handle.address().add(link.index, address.ip(), address.net().prefix_len());
                *request.message_mut() = to_add(link.index, address);
                (format!("add address {address}"), request.execute().await, Some(nix::libc::EEXIST))
            }
            AddressChange::Remove(address) => {
                let answer = self.handle.address().del(message(link.index, address)).execute().await;
                (format!("remove address {address}"), answer, Some(nix::libc::EADDRNOTAVAIL))
            }
        };
        match answer.map_err(|error| AddressError::new(action, error)) {
            Err(error) if fine.is_some() && error.errno() == fine => Ok(()),
            answer => answer,
        }
    }
}

/// The address of a dumped message: IFA_LOCAL, or IFA_ADDRESS where that is the only one (IPv6).
fn net_of(message: &AddressMessage) -> Option<IpNet> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

/// What names an address on a device.
fn message(index: u32, address: LocalAddress) -> AddressMessage {
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
fn to_add(index: u32, address: LocalAddress) -> AddressMessage {
    let mut message = message(index, address);
    match address.ip() {
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
