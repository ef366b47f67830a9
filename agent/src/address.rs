//! The node's devices and addresses, over rtnetlink.
//!
//! Source: rtnetlink(7), `include/uapi/linux/if_addr.h`.

use std::{io, net::IpAddr, time::Duration};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
    link::LinkFlags,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};
use tokio::task::JoinHandle;

use crate::{
    plan::{AddressChange, Link},
    wanted::{InterfaceName, LocalAddress},
};

/// How long the kernel may take over one request.
const TIME_LIMIT: Duration = Duration::from_secs(5);

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
    /// IPv6 is off.
    #[error("cannot {0}: IPv6 is disabled on the interface (sysctl net.ipv6.conf.INTERFACE.disable_ipv6)")]
    NoIpv6(String),
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
    /// The answer did not come.
    #[error("cannot {action}: {what}")]
    NoAnswer {
        /// What was tried.
        action: String,
        /// How it ended.
        what: &'static str,
    },
    /// What was written is not there.
    #[error("{0} was added, but is not there afterwards, so something else on this node removes it")]
    NotSeen(LocalAddress),
    /// What was removed is there.
    #[error("{0} is still there after its removal, so something else on this node adds it")]
    Left(LocalAddress),
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
        match cause.raw_os_error() {
            Some(nix::libc::EPERM) => Self::Denied(action),
            Some(nix::libc::EACCES) => Self::NoIpv6(action),
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

/// A connection to the kernel. Needs a current-thread runtime for as long as it lives.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open() -> Result<Self, AddressError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(AddressError::Open)?;
        // Ends by itself once the handle is dropped.
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Waits for an answer. A connection that fails just ends the stream of answers, which would look like an empty
    /// one, or like success.
    async fn ask<T>(
        &self,
        action: impl Fn() -> String,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, AddressError> {
        let none = |what| AddressError::NoAnswer { action: action(), what };
        match tokio::time::timeout(TIME_LIMIT, answer).await {
            Err(_) => Err(none("the kernel did not answer within 5 s")),
            Ok(_) if self.connection.is_finished() => Err(none("the netlink connection broke off")),
            Ok(answer) => answer.map_err(|error| AddressError::new(action(), error)),
        }
    }

    /// Looks a device up by its name.
    ///
    /// # Errors
    /// [`AddressError::NoInterface`] when there is none.
    pub async fn link(&self, name: &InterfaceName) -> Result<Link, AddressError> {
        let action = || format!("look up interface {name}");
        let mut links = self.handle.link().get().match_name(name.as_str().to_owned()).execute();
        let message = match self.ask(action, links.try_next()).await {
            Ok(Some(message)) => message,
            Ok(None) => {
                return Err(AddressError::NoAnswer { action: action(), what: "the answer was empty" });
            }
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
        let messages: Vec<AddressMessage> =
            self.ask(|| "list addresses".to_owned(), dump.try_collect()).await?;
        Ok(messages.iter().filter_map(net_of).collect())
    }

    /// Carries one change out, and says whether it was one: an address that is there already when it is to be
    /// added, or gone already when it is to be removed, is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn apply(&self, link: Link, change: AddressChange) -> Result<bool, AddressError> {
        let (answer, nothing_to_do) = match change {
            AddressChange::LinkUp => {
                let up = LinkMessageBuilder::<LinkUnspec>::new().index(link.index).up().build();
                let action = || "bring the interface up".to_owned();
                (self.ask(action, self.handle.link().set(up).execute()).await, None)
            }
            AddressChange::Add(address) => {
                let mut request =
                    self.handle.address().add(link.index, address.ip(), address.net().prefix_len());
                *request.message_mut() = to_add(link.index, address);
                let action = || format!("add address {address}");
                (self.ask(action, request.execute()).await, Some(nix::libc::EEXIST))
            }
            AddressChange::Remove(address) => {
                let request = self.handle.address().del(message(link.index, address));
                let action = || format!("remove address {address}");
                (self.ask(action, request.execute()).await, Some(nix::libc::EADDRNOTAVAIL))
            }
        };
        match answer {
            Ok(()) => Ok(true),
            Err(error) if nothing_to_do.is_some() && error.errno() == nothing_to_do => Ok(false),
            Err(error) => Err(error),
        }
    }
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
