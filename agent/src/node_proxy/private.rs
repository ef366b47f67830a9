//! systemd's own socket, as the D-Bus library takes it.
//!
//! Nobody stands between the two ends there, so systemd itself fills in who sent a message, and it writes
//! `org.freedesktop.systemd1`. The library takes names of connections alone (`:1.5`) and would refuse every answer. So
//! each message is read whole here, and the first byte of that name becomes a colon.
//!
//! Source: the D-Bus specification, "Message Format" and "Authentication Protocol"; sd_bus_set_sender(3).

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use nix::unistd::geteuid;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use zbus::{
    Connection,
    connection::{
        Builder,
        socket::{ReadHalf, Socket, Split, WriteHalf},
    },
    export::async_trait::async_trait,
};

const SENDER: &[u8] = b"org.freedesktop.systemd1";
/// Of a header before its fields.
const FIXED: usize = 16;
/// More than systemd ever says here.
const LONGEST: usize = 16 * 1024 * 1024;
/// Of a line of the handshake.
const LONGEST_LINE: u64 = 1024;

/// Shakes hands, and connects.
///
/// # Errors
/// Says what went wrong.
pub async fn connect(stream: UnixStream) -> Result<Connection, String> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let guid = shake_hands(&mut read, &mut write).await.map_err(|error| error.to_string())?;
    let socket = Private { read, write };
    let builder = Builder::authenticated_socket(socket, guid.as_str()).p2p();
    builder.build().await.map_err(|error| error.to_string())
}

/// Who we are, the kernel says; here it is our user's number in decimal digits, and these in hexadecimal ones.
///
/// The end of the handshake goes with its begin, as systemctl has it: what systemd reads together with it and past it
/// lies there until more comes.
async fn shake_hands(read: &mut BufReader<OwnedReadHalf>, write: &mut OwnedWriteHalf) -> io::Result<String> {
    let uid: String = geteuid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
    write.write_all(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes()).await?;
    let mut line = String::new();
    (&mut *read).take(LONGEST_LINE).read_line(&mut line).await?;
    let guid = line.trim_end().strip_prefix("OK ");
    let refused = || io::Error::new(io::ErrorKind::PermissionDenied, "systemd refuses us");
    guid.map(ToOwned::to_owned).ok_or_else(refused)
}

/// Both ends, once hands are shaken.
#[derive(Debug)]
struct Private {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

#[derive(Debug)]
struct Reader {
    read: BufReader<OwnedReadHalf>,
    /// A whole message, and how much of it was handed on.
    message: Vec<u8>,
    handed_on: usize,
}

#[derive(Debug)]
struct Writer(OwnedWriteHalf);

impl Socket for Private {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let reader = Reader { read: self.read, message: Vec::new(), handed_on: 0 };
        Split::new(reader, Writer(self.write))
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.handed_on == self.message.len() {
            self.message = read_message(&mut self.read).await?;
            self.handed_on = 0;
        }
        let left = self.message.get(self.handed_on..).unwrap_or_default();
        let length = left.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(left) {
            *to = *from;
        }
        self.handed_on += length;
        Ok((length, Vec::new()))
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, bytes: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(bytes).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// A whole message, with a sender that the library takes. At the end of the stream an error.
async fn read_message(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let mut fixed = [0; FIXED];
    read.read_exact(&mut fixed).await?;
    let (fields, whole) = lengths(&fixed).ok_or_else(|| io::Error::other("systemd sent no D-Bus message"))?;
    let mut message = fixed.to_vec();
    message.resize(whole, 0);
    read.read_exact(message.get_mut(FIXED..).unwrap_or_default()).await?;
    if let Some(fields) = message.get_mut(FIXED..FIXED + fields) {
        mend_sender(fields);
    }
    Ok(message)
}

/// How long a header's fields are, and how long the whole message is, by what stands before the fields.
fn lengths(fixed: &[u8; FIXED]) -> Option<(usize, usize)> {
    let [endian, _, _, _, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = *fixed;
    let number = |bytes: [u8; 4]| match endian {
        b'l' => usize::try_from(u32::from_le_bytes(bytes)).ok(),
        b'B' => usize::try_from(u32::from_be_bytes(bytes)).ok(),
        _ => None,
    };
    let (body, fields) = (number([b0, b1, b2, b3])?, number([f0, f1, f2, f3])?);
    let whole = FIXED.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (whole <= LONGEST).then_some((fields, whole))
}

/// Turns systemd's name into that of a connection, where it stands as the field of the sender: code 7, of type `s`.
fn mend_sender(fields: &mut [u8]) {
    let before = [7, 1, b's', 0];
    let length = before.len() + 4;
    let at = fields
        .windows(length + SENDER.len())
        .position(|window| window.starts_with(&before) && window.ends_with(SENDER));
    if let Some(first) = at.and_then(|at| fields.get_mut(at + length)) {
        *first = b':';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_those_of_the_specification() {
        let header = |endian, body: [u8; 4], fields: [u8; 4]| {
            let mut fixed = [endian, 2, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
            fixed[4..8].copy_from_slice(&body);
            fixed[12..].copy_from_slice(&fields);
            lengths(&fixed)
        };
        assert_eq!(header(b'l', [5, 0, 0, 0], [17, 0, 0, 0]), Some((17, 45)));
        assert_eq!(header(b'B', [0, 0, 0, 5], [0, 0, 0, 16]), Some((16, 37)));
        assert_eq!(header(b'l', [0, 0, 0, 0], [0, 0, 0, 0]), Some((0, 16)));
        assert_eq!(header(b'l', [0, 0, 0, 1], [0, 0, 0, 0]), None, "more than is read");
        assert_eq!(header(b'x', [0, 0, 0, 0], [0, 0, 0, 0]), None);
    }

    #[test]
    fn only_the_sender_is_mended() {
        let field = |code: u8| [&[code, 1, b's', 0, 24, 0, 0, 0], SENDER, &[0; 8]].concat();
        let mut fields = [field(6), field(7)].concat();
        mend_sender(&mut fields);
        let mended = [field(6), field(7)].concat().iter().zip(&fields).filter(|(a, b)| a != b).count();
        assert_eq!((mended, fields[40 + 8]), (1, b':'));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(fixed: [u8; FIXED], mut fields: Vec<u8>) {
            lengths(&fixed);
            let length = fields.len();
            mend_sender(&mut fields);
            prop_assert_eq!(fields.len(), length);
        }
    }
}
