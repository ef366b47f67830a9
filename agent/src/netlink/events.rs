//! What the kernel tells by itself: devices and addresses that come and go, and changes of nf_tables.
//!
//! An event only says where to look. Events that arrived before an observation are answered by it, so whoever
//! observes drains first; the events of one's own writes are gone that way too, since the kernel sends them before
//! the write returns.
//!
//! Source: rtnetlink(7), `include/uapi/linux/rtnetlink.h`, `include/uapi/linux/netfilter/nf_tables.h`.

use std::{future::poll_fn, io};

use netlink_sys::{
    AsyncSocket, SocketAddr, TokioSocket,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use nix::sys::socket::{setsockopt, sockopt};

use super::{
    nft::{FAMILY_HEADER, NFTA_GEN_ID, NFTABLES},
    wire::{self, Message},
};

/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
const ROUTE_GROUPS: [u32; 3] = [1, 5, 9];
/// NFNLGRP_NFTABLES
const NFT_GROUPS: [u32; 1] = [7];
/// Bytes: a restore of 15,000 rules is 20,000 events at once.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;
/// Bytes that one read takes.
const READ: usize = 32 * 1024;
/// Datagrams that are read in one go, so that a flood does not keep the agent from its work.
const MOST_AT_ONCE: usize = 50_000;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const IFLA_IFNAME: u16 = 3;
/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

const NFT_MSG_NEWGEN: u16 = 15;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A device came, changed or went.
    Link {
        /// Its number.
        index: u32,
        /// Its name.
        name: &'a str,
    },
    /// An address came, changed or went.
    Address {
        /// The device's number.
        index: u32,
    },
    /// Something of nf_tables came, changed or went.
    Nft(NftChange<'a>),
    /// A transaction of nf_tables ended: what was told since the last such event belongs to it.
    Generation(u32),
    /// Events were lost: anything may have changed.
    Lost,
}

/// A change of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NftChange<'a> {
    /// `NFT_MSG_*`
    pub kind: u8,
    /// `NFPROTO_*`
    pub family: u8,
    /// The table's name.
    pub table: &'a str,
    /// The chain's name, where the change is one of a chain or a rule; else empty.
    pub chain: &'a str,
}

/// A new table, or a change of its flags.
pub const NFT_MSG_NEWTABLE: u8 = 0;
/// A table is gone.
pub const NFT_MSG_DELTABLE: u8 = 2;
/// A new chain, or a change of it.
pub const NFT_MSG_NEWCHAIN: u8 = 3;
/// A chain is gone.
pub const NFT_MSG_DELCHAIN: u8 = 5;
/// A new rule.
pub const NFT_MSG_NEWRULE: u8 = 6;
/// A rule is gone.
pub const NFT_MSG_DELRULE: u8 = 8;

/// Reads a message of rtnetlink. Nothing for what is of no interest, or can't be read.
#[must_use]
pub fn route_event(message: Message<'_>) -> Option<Event<'_>> {
    let index = wire::u32_at(message.payload, 4)?;
    match message.kind {
        RTM_NEWLINK | RTM_DELLINK => {
            let name = wire::attribute(message.payload.get(LINK_HEADER..)?, IFLA_IFNAME);
            Some(Event::Link { index, name: name.and_then(wire::name).unwrap_or_default() })
        }
        RTM_NEWADDR | RTM_DELADDR => Some(Event::Address { index }),
        _ => None,
    }
}

/// Reads a message of nf_tables, its type and two names only: the whole of a rule costs fifty times as much.
#[must_use]
pub fn nft_event(message: Message<'_>) -> Option<Event<'_>> {
    if message.kind >> 8 != NFTABLES {
        return None;
    }
    let (family, attributes) = (*message.payload.first()?, message.payload.get(FAMILY_HEADER..)?);
    if message.kind & 0xff == NFT_MSG_NEWGEN {
        return wire::attribute(attributes, NFTA_GEN_ID).and_then(wire::number).map(Event::Generation);
    }
    let kind = u8::try_from(message.kind & 0xff).ok()?;
    let named = |kind| wire::attribute(attributes, kind).and_then(wire::name).unwrap_or_default();
    // The table's name is attribute 1 of everything; the chain's is 3 of a chain, and 2 of a rule.
    let chain = match kind {
        NFT_MSG_NEWCHAIN | NFT_MSG_DELCHAIN => named(3),
        NFT_MSG_NEWRULE | NFT_MSG_DELRULE => named(2),
        _ => "",
    };
    Some(Event::Nft(NftChange { kind, family, table: named(1), chain }))
}

/// A socket that events arrive at.
#[derive(Debug)]
pub struct Events(Option<Listener>);

impl Events {
    /// Nothing is ever told.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Of devices and addresses. What can't be listened to is told in the log: then looking once an interval is all
    /// there is. Must be called within a runtime.
    #[must_use]
    pub fn of_addresses() -> Self {
        Self(listener("devices and addresses", NETLINK_ROUTE, &ROUTE_GROUPS, route_event))
    }

    /// Of nf_tables.
    #[must_use]
    pub fn of_nft() -> Self {
        Self(listener("nf_tables", NETLINK_NETFILTER, &NFT_GROUPS, nft_event))
    }

    /// Waits until there is something to drain.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            Some(listener) => listener.readable().await,
            None => std::future::pending().await,
        }
    }

    /// Hands on everything that has arrived.
    pub fn drain(&mut self, mut each: impl FnMut(Event<'_>)) {
        if let Some(listener) = &mut self.0 {
            listener.drain(&mut each);
        }
    }
}

fn listener(
    what: &str,
    protocol: isize,
    groups: &[u32],
    read: fn(Message<'_>) -> Option<Event<'_>>,
) -> Option<Listener> {
    Listener::open(protocol, groups, read)
        .inspect_err(
            |error| tracing::warn!(%error, "no events of {what}: drift is seen once an interval only"),
        )
        .ok()
}

struct Listener {
    socket: TokioSocket,
    read: fn(Message<'_>) -> Option<Event<'_>>,
    /// The datagram that ended a wait, until it is drained.
    first: Option<io::Result<()>>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Listener {
    fn open(protocol: isize, groups: &[u32], read: fn(Message<'_>) -> Option<Event<'_>>) -> io::Result<Self> {
        let mut listener = TokioSocket::new(protocol)?;
        let socket = listener.socket_mut();
        // Beyond the machine's limit with CAP_NET_ADMIN; else as much as it allows. An overrun is no disaster.
        if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        socket.bind(&SocketAddr::new(0, 0))?;
        groups.iter().try_for_each(|group| socket.add_membership(*group))?;
        Ok(Self { socket: listener, read, first: None, buffer: Vec::with_capacity(READ) })
    }

    /// Waits until there is something, and keeps the first datagram of it.
    async fn readable(&mut self) {
        if self.first.is_none() {
            self.buffer.clear();
            let received = poll_fn(|context| self.socket.poll_recv(context, &mut self.buffer)).await;
            self.first = Some(received);
        }
    }

    fn drain(&mut self, each: &mut impl FnMut(Event<'_>)) {
        let mut received = self.first.take();
        for _ in 0..MOST_AT_ONCE {
            match received.take() {
                None => {}
                Some(Ok(())) => wire::messages(&self.buffer).filter_map(self.read).for_each(&mut *each),
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "events lost");
                    each(Event::Lost);
                    if error.raw_os_error() != Some(nix::libc::ENOBUFS) {
                        break;
                    }
                }
            }
            self.buffer.clear();
            received = Some(self.socket.socket_ref().recv(&mut self.buffer, 0).map(drop));
        }
        // What was read last and not looked at.
        self.first =
            received.filter(|last| !matches!(last, Err(error) if error.kind() == io::ErrorKind::WouldBlock));
    }
}
