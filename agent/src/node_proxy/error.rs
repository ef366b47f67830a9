//! What can be wrong with files, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

/// Why a drop-in is not in place, or not gone. Holds nothing of what is in a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {path}: {cause}{}", advice(cause))]
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A path can't be resolved within the root.
    #[error(
        "cannot open {path}: {cause}; this takes openat2(2), which Linux has from 5.6 on, and which an old seccomp profile of a container refuses"
    )]
    OpenAt2 {
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Most likely another root was meant.
    #[error("there is no {path}; is --root the node's file system, and does the node have systemd?")]
    NoSystemd {
        /// The folder.
        path: PathBuf,
    },
    /// It is in the way, and somebody put it there.
    #[error("{path} is {kind} and no file; remove it")]
    NotAFile {
        /// The drop-in.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// It is somebody else's.
    #[error(
        "{path} has other settings than the proxy's ({what}), so it is left as it is; move them into a drop-in of another name, and remove it"
    )]
    Foreign {
        /// The drop-in.
        path: PathBuf,
        /// Where.
        what: String,
    },
}

impl FileError {
    pub(super) fn system(action: &'static str, path: &Path, cause: impl Into<io::Error>) -> Self {
        Self::System { action, path: path.to_owned(), cause: cause.into() }
    }
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => "; make room there, what was there before is still in place",
        Some(Errno::EROFS) => "; mount it writable, what was there before is still in place",
        Some(Errno::EACCES) => {
            "; this needs no privilege over what belongs to root and is open to root, and has none over anything else: chown root, chmod u+rwX"
        }
        Some(Errno::EPERM) => "; is it immutable (lsattr), or another user's?",
        Some(Errno::ELOOP) => "; is a symlink in the way?",
        _ => "",
    }
}
