//! The one message there is: a byte, and two sockets with it (SCM_RIGHTS, unix(7)).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};

/// What the byte is. Another form of the message would have another.
const VERSION: u8 = 1;

/// Sends both; they stay ours as well.
pub(super) fn send(to: impl AsFd, sockets: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("no room for two sockets"));
    }
    sendmsg(to, &[IoSlice::new(&[VERSION])], &mut with, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Receives what [`send`] sends, if it is that; none at the end of the connection.
pub(super) fn receive(from: impl AsFd) -> io::Result<Option<[OwnedFd; 2]>> {
    // One more than there should be, so that more would be seen.
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    if received.bytes == 0 && sockets.is_empty() {
        return Ok(None);
    }
    let whole = received.bytes == 1 && byte == [VERSION] && !received.flags.contains(ReturnFlags::CTRUNC);
    match <[OwnedFd; 2]>::try_from(sockets) {
        Ok(sockets) if whole => Ok(Some(sockets)),
        _ => Err(io::Error::other("the answer is not two sockets")),
    }
}
