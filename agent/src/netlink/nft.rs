//! Requests to nf_tables, over one socket that stays open.
//!
//! The kernel answers a request before send(2) returns, so that nothing here waits, except while somebody else's
//! transaction runs. A socket opened and closed for each transaction would cost a hundred times as much.
//!
//! Source: `include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h`.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{GenMessage, NfTablesMessage, TableAttribute, TableMessage},
    none::ControlMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::{
    socket::{setsockopt, sockopt},
    time::TimeVal,
};

use super::wire;

/// Bytes that one read takes at most; the kernel fills dumps up to 32 KiB.
const BUFFER: usize = 64 * 1024;
/// Seconds that an answer may take.
const TIME_LIMIT: i64 = 5;
/// How often a dump that was interrupted by a change is tried.
const DUMP_TRIES: usize = 8;

/// NFNL_SUBSYS_NFTABLES, as the upper byte of a message's type.
pub(super) const NFTABLES: u16 = 10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub(super) const NFTA_GEN_ID: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_DORMANT: u32 = 1;
/// Bytes of `struct nfgenmsg`, which stands before the attributes.
pub const FAMILY_HEADER: usize = 4;

/// Why nf_tables could not be read or changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// No socket.
    #[error(
        "cannot open a netlink socket for nf_tables: {0}; does the kernel have nf_tables (CONFIG_NF_TABLES)?"
    )]
    Open(#[source] io::Error),
    /// The kernel refused for want of a capability.
    #[error(
        "cannot {0}: the kernel does not permit it; the agent needs CAP_NET_ADMIN in the node's network namespace"
    )]
    Denied(&'static str),
    /// The kernel refused for another reason.
    #[error("cannot {action}: {cause}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Every try was interrupted.
    #[error("cannot {0}: others change the rules all the time; trying again later")]
    Interrupted(&'static str),
}

impl NftError {
    fn new(action: &'static str, cause: io::Error) -> Self {
        match cause.raw_os_error() {
            Some(nix::libc::EPERM) => Self::Denied(action),
            _ => Self::Refused { action, cause },
        }
    }

    /// Whether the kernel says that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { cause, .. } if cause.raw_os_error() == Some(nix::libc::ENOENT))
    }
}

/// One message of a transaction, with the family of its table.
pub type Change = (NetfilterProtoFamily, NfTablesMessage);

/// A connection to nf_tables.
pub struct Nft {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Nft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nft").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Nft {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`NftError::Open`].
    pub fn open() -> Result<Self, NftError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(TIME_LIMIT, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(NftError::Open)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::new() })
    }

    /// The number of the rule set's present state. Every transaction of anybody makes it another.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn generation(&mut self) -> Result<u32, NftError> {
        let request = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
        let mut generation = None;
        let action = "ask for nf_tables' generation";
        self.ask(action, NetfilterProtoFamily::Unspec, 0, request, |_, attributes| {
            generation = wire::attribute(attributes, NFTA_GEN_ID).and_then(wire::number);
        })?;
        generation.ok_or_else(|| NftError::Refused {
            action,
            cause: io::Error::other("there is none in the answer"),
        })
    }

    /// Whether a table is there and put to sleep: none of its chains is in force then.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn is_dormant(&mut self, family: u8, table: &str) -> Result<bool, NftError> {
        let attributes = vec![TableAttribute::Name(table.to_owned())];
        let request = NfTablesMessage::GetTable(TableMessage { attributes });
        let mut flags = 0;
        self.get("look up a table", family.into(), request, |_, attributes| {
            flags = wire::attribute(attributes, NFTA_TABLE_FLAGS).and_then(wire::number).unwrap_or_default();
        })?;
        Ok(flags & NFT_TABLE_F_DORMANT != 0)
    }

    /// Asks for one thing by its name and hands its attributes on. Whether it is there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(
        &mut self,
        action: &'static str,
        family: NetfilterProtoFamily,
        request: NfTablesMessage,
        each: impl FnMut(u16, &[u8]),
    ) -> Result<bool, NftError> {
        match self.ask(action, family, 0, request, each) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks for all things of a kind and hands the attributes of each on, with the lower byte of the message's
    /// type. A dump that a change interrupts is begun again: `restart` is to forget what came so far.
    ///
    /// # Errors
    /// When the kernel refuses, or others change rules all the time.
    pub fn dump<T: Default>(
        &mut self,
        action: &'static str,
        family: NetfilterProtoFamily,
        request: &NfTablesMessage,
        mut each: impl FnMut(&mut T, &[u8]),
    ) -> Result<T, NftError> {
        for _ in 0..DUMP_TRIES {
            let mut collected = T::default();
            match self.ask(action, family, NLM_F_DUMP, request.clone(), |_, attributes| {
                each(&mut collected, attributes);
            }) {
                Ok(true) => return Ok(collected),
                Ok(false) => {}
                // What is asked about is not there, so there is nothing of it.
                Err(error) if error.is_not_found() => return Ok(T::default()),
                Err(error) => return Err(error),
            }
        }
        Err(NftError::Interrupted(action))
    }

    /// Carries out all of `changes` or none.
    ///
    /// # Errors
    /// When the kernel refuses one of them; then none is in force.
    pub fn transact(&mut self, action: &'static str, changes: Vec<Change>) -> Result<(), NftError> {
        let control = |message| {
            let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
            NetfilterMessage::new(header, NetfilterMessageInner::None(message))
        };
        let mut batch = Vec::new();
        self.write(&mut batch, 0, control(ControlMessage::BatchBegin));
        let first = self.sequence;
        for (family, change) in changes {
            let flags = match change {
                NfTablesMessage::DeleteTable(_) => NLM_F_ACK,
                _ => NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND,
            };
            let header = NetfilterHeader::new(family, 0, 0);
            self.write(&mut batch, flags, NetfilterMessage::new(header, change));
        }
        let last = self.sequence;
        self.write(&mut batch, 0, control(ControlMessage::BatchEnd));
        self.send(action, &batch)?;
        let mut answers = last.wrapping_sub(first);
        let mut outcome = Ok(());
        // Each change is answered, also when another fails; a batch that can't be read at all is answered once.
        while answers > 0 {
            let datagram = self.receive(action)?;
            for message in wire::messages(&datagram).filter(|message| message.kind == NLMSG_ERROR) {
                let of_this = message.sequence.wrapping_sub(first) <= last.wrapping_sub(first);
                if let Err(cause) = code(message.payload)
                    && outcome.is_ok()
                    && of_this
                {
                    outcome = Err(NftError::new(action, cause));
                }
                if of_this {
                    answers = if message.sequence == first { 0 } else { answers.saturating_sub(1) };
                }
            }
            self.buffer = datagram;
        }
        outcome
    }

    /// Sends one request and hands on what comes back, up to its end. For a dump, whether it is consistent.
    fn ask(
        &mut self,
        action: &'static str,
        family: NetfilterProtoFamily,
        flags: u16,
        request: NfTablesMessage,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<bool, NftError> {
        let mut bytes = Vec::new();
        let (header, is_dump) = (NetfilterHeader::new(family, 0, 0), flags & NLM_F_DUMP != 0);
        self.write(&mut bytes, flags, NetfilterMessage::new(header, request));
        self.send(action, &bytes)?;
        let mut consistent = true;
        loop {
            let datagram = self.receive(action)?;
            let mut end = None;
            // What answers an earlier request, one that had timed out, is skipped.
            for message in wire::messages(&datagram).filter(|message| message.sequence == self.sequence) {
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => end = Some(code(message.payload)),
                    kind if kind >> 8 == NFTABLES => {
                        each(kind & 0xff, message.payload.get(FAMILY_HEADER..).unwrap_or_default());
                        end = (!is_dump).then_some(Ok(()));
                    }
                    _ => {}
                }
            }
            self.buffer = datagram;
            match end {
                None => {}
                Some(Ok(())) => return Ok(consistent),
                // The kernel's own word for an interrupted dump.
                Some(Err(error)) if error.raw_os_error() == Some(nix::libc::EINTR) => return Ok(false),
                Some(Err(cause)) => return Err(NftError::new(action, cause)),
            }
        }
    }

    /// Appends one message to `bytes`, with a sequence number of its own.
    fn write(&mut self, bytes: &mut Vec<u8>, flags: u16, message: NetfilterMessage) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut written = vec![0; message.buffer_len().next_multiple_of(4)];
        message.serialize(&mut written);
        bytes.append(&mut written);
    }

    fn send(&self, action: &'static str, bytes: &[u8]) -> Result<(), NftError> {
        self.socket.send(bytes, 0).map(drop).map_err(|cause| NftError::new(action, cause))
    }

    /// One datagram, in the buffer that the caller is to give back.
    fn receive(&mut self, action: &'static str) -> Result<Vec<u8>, NftError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.reserve(BUFFER);
        loop {
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => return Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let cause = io::Error::other(format!("the kernel did not answer within {TIME_LIMIT} s"));
                    return Err(NftError::Refused { action, cause });
                }
                Err(cause) => return Err(NftError::new(action, cause)),
            }
        }
    }
}

/// What `struct nlmsgerr`, or the end of a dump, says: a negative error number, or 0.
fn code(payload: &[u8]) -> io::Result<()> {
    match wire::u32_at(payload, 0).map(u32::cast_signed) {
        None | Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}
