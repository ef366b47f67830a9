//! A Unix socket: at a path, whatever was there before, or of an abstract name (unix(7)).

use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

const BACKLOG: i32 = 128;
/// How long a listener that is there may take to show that it lives.
const ASK_TIME: Duration = Duration::from_secs(1);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It would take the place of something else.
    #[error("{path} is there and is no socket; give another path, or remove it")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The name can't be had.
    #[error("cannot bind {path}: {cause}; another process in this network namespace may have the name")]
    Name {
        /// The name, with `@` before it.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The system refused.
    #[error("cannot {action} {path}: {cause}; the folder has to be there and writable")]
    System {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// A socket's place as a flag has it: a path, or `@NAME` for an abstract name. `@` alone is a name of this program in
/// this process's pid namespace, which is another in each container, also where containers share the node's network,
/// and with it all abstract names. Empty for none.
#[must_use]
pub fn place(text: &str, program: &str) -> Option<PathBuf> {
    match text {
        "" => None,
        "@" => {
            let namespace = fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino());
            Some(PathBuf::from(format!("@{program}/{}", namespace.unwrap_or_default())))
        }
        path => Some(PathBuf::from(path)),
    }
}

/// Whether it is an abstract name, which anybody may have bound and may connect to.
pub(super) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(b"@")
}

/// Whether whoever is on the other side may be: this user, or root.
pub(super) fn is_ours(uid: u32) -> bool {
    uid == geteuid().as_raw() || uid == 0
}

/// Where to bind, or to connect to.
pub(super) fn address(path: &Path) -> io::Result<SockAddr> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
        None => SockAddr::unix(path),
    }
}

/// Listens at the path, for this user only. A socket that is there is replaced in one step, so that a client finds
/// either the old one or the new one.
pub(super) async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let socket = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(failed("open", path));
    if is_abstract(path) {
        let socket = socket()?;
        let bound = address(path).and_then(|address| socket.bind(&address));
        bound
            .and_then(|()| socket.listen(BACKLOG))
            .map_err(|cause| SocketError::Name { path: path.to_owned(), cause })?;
        return UnixListener::from_std(socket.into()).map_err(failed("listen on", path));
    }
    if is_socket(path)? && is_alive(path).await {
        tracing::warn!(path = %path.display(), "another process listens here; taking its place");
    }
    let mut beside = path.to_owned().into_os_string();
    // One byte only: the system takes 107.
    beside.push("~");
    let beside = PathBuf::from(beside);
    if is_socket(&beside)? {
        // Of a process that was killed right here.
        fs::remove_file(&beside).map_err(failed("remove", &beside))?;
    }
    let socket = socket()?;
    let address = SockAddr::unix(&beside).map_err(failed("use the path", &beside))?;
    socket.bind(&address).map_err(failed("bind", &beside))?;
    // Nobody can connect before it listens, thus nobody before this.
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).map_err(failed("chmod", &beside))?;
    socket.listen(BACKLOG).map_err(failed("listen on", path))?;
    fs::rename(&beside, path).map_err(failed("rename to", path))?;
    UnixListener::from_std(socket.into()).map_err(failed("listen on", path))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> SocketError {
    move |cause| SocketError::System { action, path: path.to_owned(), cause }
}

/// Whether a socket is there, rather than nothing.
fn is_socket(path: &Path) -> Result<bool, SocketError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(true),
        Ok(_) => Err(SocketError::NotASocket { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

async fn is_alive(path: &Path) -> bool {
    matches!(tokio::time::timeout(ASK_TIME, UnixStream::connect(path)).await, Ok(Ok(_)))
}
