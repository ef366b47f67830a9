//! Being told that something may have changed. What has, only a look says.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use tokio::net::unix::pipe::Receiver;

use super::tree::Tree;

/// Events of what is in a folder, and of the folder itself.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Folders that are watched. Made anew for each round: then it watches what is there by now, and nothing else.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    events: Receiver,
}

impl Watch {
    /// Watches systemd's folder, those of the units, and that of the configuration file. What can't be watched is
    /// looked at once an interval.
    ///
    /// # Errors
    /// When the system has no more watches to give.
    pub fn new(tree: Option<&Tree>, units: &[String], config: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // Only whether it can be read is of interest, and for that tokio's pipe is as good as any descriptor.
        let events = Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)?;
        let watch = Self { inotify, events };
        // The folder, since kubelet replaces a symlink in it.
        let folder = config.parent().filter(|folder| !folder.as_os_str().is_empty());
        watch.add(folder.unwrap_or(Path::new(".")))?;
        if let Some(tree) = tree {
            watch.add_open(tree.system())?;
            for folder in units.iter().filter_map(|unit| tree.folder(unit).ok().flatten()) {
                watch.add_open(&folder)?;
            }
        }
        Ok(watch)
    }

    /// Waits for an event.
    pub async fn event(&mut self) {
        // An error is as good as an event: the look that follows tells what is wrong.
        let _ = self.events.readable().await;
    }

    fn add_open(&self, folder: &File) -> io::Result<()> {
        self.add(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())))
    }

    fn add(&self, folder: &Path) -> io::Result<()> {
        match self.inotify.add_watch(folder, EVENTS) {
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
