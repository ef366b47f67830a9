//! The part of a host's file system that drop-ins are in.
//!
//! The root may be a host's, mounted into a container, where a symlink with an absolute target would lead out of it.
//! So paths are resolved once, by openat2(2) with `RESOLVE_IN_ROOT`, and from there on only folders that are open are
//! used.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::duration::GoDuration;
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2},
    sys::stat::Mode,
};

use super::error::FileError;

/// Where systemd looks for what an administrator adds, below the root.
pub(super) const SYSTEM: &str = "etc/systemd/system";
/// How long another process may be writing.
const LOCK_TIME: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// openat2(2) gives up when something is renamed meanwhile.
const TRIES: usize = 16;

const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC);

/// A root, and systemd's folder in it.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    system: File,
}

/// A root that nothing leads out of.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    shown: PathBuf,
}

/// Nobody else writes while this is there.
#[derive(Debug)]
#[must_use = "dropped, it is free"]
pub struct Lock(#[expect(dead_code, reason = "open is all it has to be")] File);

impl AsRawFd for Root {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Root {
    /// Opens a root.
    ///
    /// # Errors
    /// When it is no folder that can be entered.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let fd = open(path, FOLDER | OFlag::O_PATH, Mode::empty())
            .map_err(|errno| FileError::system("open the root", path, errno))?;
        Ok(Self { fd, shown: path.to_owned() })
    }

    /// A path below the root as a person would write it.
    #[must_use]
    pub fn shown(&self, path: &str) -> PathBuf {
        self.shown.join(path)
    }

    /// Opens what is at a path below the root; nothing if there is nothing.
    ///
    /// # Errors
    /// When it can't be opened, or the system knows no openat2(2).
    pub fn open_below(&self, path: &str, flags: OFlag) -> Result<Option<OwnedFd>, FileError> {
        let how = || OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let again = |opened: &Result<OwnedFd, Errno>| matches!(opened, Err(Errno::EAGAIN | Errno::EINTR));
        let mut opened = openat2(&self.fd, path, how());
        for _ in 1..TRIES {
            if !again(&opened) {
                break;
            }
            opened = openat2(&self.fd, path, how());
        }
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT) => Ok(None),
            Err(cause @ (Errno::ENOSYS | Errno::EPERM)) => {
                Err(FileError::OpenAt2 { path: self.shown(path), cause: cause.into() })
            }
            Err(errno) => Err(FileError::system("open", &self.shown(path), errno)),
        }
    }
}

impl Tree {
    /// Opens the root, and systemd's folder in it.
    ///
    /// # Errors
    /// When one of them is not there or can't be entered.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let root = Root::open(path)?;
        match root.open_below(SYSTEM, FOLDER)? {
            Some(fd) => Ok(Self { root, system: fd.into() }),
            None => Err(FileError::NoSystemd { path: root.shown(SYSTEM) }),
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Systemd's folder.
    #[must_use]
    pub fn system(&self) -> &File {
        &self.system
    }

    /// The name of a unit's folder in systemd's.
    #[must_use]
    pub fn folder_name(unit: &str) -> String {
        format!("{unit}.service.d")
    }

    /// A unit's folder as a person would write it.
    #[must_use]
    pub fn folder_path(&self, unit: &str) -> PathBuf {
        self.root.shown(SYSTEM).join(Self::folder_name(unit))
    }

    /// A unit's folder; nothing if it is not there.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn folder(&self, unit: &str) -> Result<Option<File>, FileError> {
        let path = format!("{SYSTEM}/{}", Self::folder_name(unit));
        Ok(self.root.open_below(&path, FOLDER)?.map(File::from))
    }

    /// Waits until nobody else writes here, and keeps others from it. systemd itself pays no heed to this lock.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn lock(&self) -> Result<Lock, FileError> {
        let path = self.root.shown(SYSTEM);
        // Opened once more: the lock belongs to what was opened, and ends with it.
        let fd = openat(self.system.as_fd(), ".", FOLDER, Mode::empty());
        let file = File::from(fd.map_err(|errno| FileError::system("open", &path, errno))?);
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(FileError::system("lock", &path, error));
                }
                Err(std::fs::TryLockError::WouldBlock) if began.elapsed() > LOCK_TIME => {
                    let limit = GoDuration(LOCK_TIME);
                    let why = format!("another process has held it for {limit}; is a node-proxy hanging?");
                    return Err(FileError::system("lock", &path, io::Error::other(why)));
                }
                Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_INTERVAL).await,
            }
        }
    }
}
