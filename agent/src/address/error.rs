//! What goes wrong with devices and addresses.

use std::io;

use crate::wanted::{InterfaceName, LocalAddress};

/// Why devices or addresses could not be read or changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// No such device.
    #[error("interface {0} does not exist; see which do with ip link")]
    NoInterface(InterfaceName),
    /// No such device, and none can be made.
    #[error(
        "interface {0} does not exist, and the kernel has no dummy driver to create it with; name one that does (ip link), or load the driver (modprobe dummy)"
    )]
    NoDummy(InterfaceName),
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
    #[error(
        "interface {0} is down, and not the loopback device or one of the agent's; bring it up with ip link set {0} up"
    )]
    Down(InterfaceName),
}

impl AddressError {
    pub(super) fn new(action: String, error: rtnetlink::Error) -> Self {
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
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { cause, .. } => cause.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the connection to the kernel is of no more use.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Protocol { .. } | Self::NoAnswer { .. })
    }
}
