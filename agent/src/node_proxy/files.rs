//! One drop-in in its folder: looked at, written, removed.
//!
//! A write is a temporary file and a rename, so that whoever reads, and whoever looks after a crash, finds the old
//! file or the new one. systemd reads `*.conf` alone, and so never the temporary one.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

use common::egress::Secret;
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::stat::{Mode, SFlag, fstatat, mkdirat},
    unistd::{UnlinkatFlags, geteuid, unlinkat},
};

use super::{
    error::FileError,
    ours::foreign_line,
    tree::{SYSTEM, Tree},
};

/// The drop-in's name.
const NAME: &str = "http-proxy.conf";
/// Fixed, so that what a killed run left is found.
const TEMPORARY: &str = ".http-proxy.conf.new";
/// There is a password in it.
const MODE: u32 = 0o600;
/// More than a drop-in of ours has, comments of somebody else included.
const LONGEST: u64 = 64 * 1024;

/// A drop-in of ours, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// All of it.
    pub text: Secret,
    /// Its permissions, such as 0o600.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// When it was written, as far as restarts go.
    pub modified: SystemTime,
}

impl Found {
    /// What keeps it from being as it should: nothing if it is.
    #[must_use]
    pub fn differs(&self, wanted: &Secret) -> Option<String> {
        if self.text != *wanted {
            return Some("its content differs".to_owned());
        }
        if self.mode != MODE {
            return Some(format!("its mode is {:04o} instead of {MODE:04o}", self.mode));
        }
        let ours = geteuid().as_raw();
        (self.uid != ours).then(|| format!("its owner is uid {} instead of {ours}", self.uid))
    }
}

impl Tree {
    /// A unit's drop-in as a person would write it.
    #[must_use]
    pub fn path(&self, unit: &str) -> PathBuf {
        self.folder_path(unit).join(NAME)
    }

    /// The same as systemd knows it, whose root it is: it resolves a folder that is a symlink.
    #[must_use]
    pub fn path_for_systemd(&self, unit: &str) -> String {
        let resolved = |fd: &dyn AsRawFd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
        let folder = self.folder(unit).ok().flatten().and_then(|folder| resolved(&folder));
        let below = folder.zip(resolved(self.root())).and_then(|(folder, root)| {
            folder.strip_prefix(root).map(|below| format!("/{}/{NAME}", below.display())).ok()
        });
        below.unwrap_or_else(|| format!("/{SYSTEM}/{}/{NAME}", Self::folder_name(unit)))
    }

    /// Looks at a unit's drop-in; nothing if there is none.
    ///
    /// # Errors
    /// When it can't be read, or is not ours.
    pub fn look(&self, unit: &str) -> Result<Option<Found>, FileError> {
        let Some(folder) = self.folder(unit)? else { return Ok(None) };
        let path = self.path(unit);
        let Some(file) = open_file(&folder, &path)? else { return Ok(None) };
        let failed = |cause| FileError::system("read", &path, cause);
        let metadata = file.metadata().map_err(failed)?;
        let foreign = |what| FileError::Foreign { path: path.clone(), what };
        let mut bytes = Vec::new();
        (&file).take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LONGEST {
            return Err(foreign(format!("more than {LONGEST} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| foreign("no UTF-8".to_owned()))?;
        if let Some(line) = foreign_line(&text) {
            return Err(foreign(format!("line {line}")));
        }
        Ok(Some(Found {
            text: Secret::new(text),
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            modified: metadata.modified().map_err(failed)?,
        }))
    }

    /// Puts a drop-in in the place of what is there, and its folder if that is missing. Take the lock first. `modified`
    /// is the file's time, which says from when on a unit runs with it.
    ///
    /// # Errors
    /// When that fails; what was there before is still there then, and nothing else.
    pub fn write(&self, unit: &str, text: &Secret, modified: SystemTime) -> Result<(), FileError> {
        let (folder, path) = (self.folder_or_new(unit)?, self.path(unit));
        let temporary = self.folder_path(unit).join(TEMPORARY);
        remove_file(&folder, TEMPORARY, &temporary)?;
        let written = write_temporary(&folder, text, modified)
            .map_err(|cause| FileError::system("write", &temporary, cause))
            .and_then(|()| {
                renameat(&folder, TEMPORARY, &folder, NAME)
                    .map_err(|errno| FileError::system("replace", &path, errno))
            });
        if written.is_err() {
            let _ = remove_file(&folder, TEMPORARY, &temporary);
        }
        written?;
        folder.sync_all().map_err(|cause| FileError::system("write through to the disk", &path, cause))
    }

    /// Gives a drop-in another time. systemd wants no reload for an earlier one.
    ///
    /// # Errors
    /// When that fails.
    pub fn set_modified(&self, unit: &str, time: SystemTime) -> Result<(), FileError> {
        let path = self.path(unit);
        let folder = self.folder(unit)?;
        let file = folder.as_ref().map(|folder| open_file(folder, &path)).transpose()?.flatten();
        let Some(file) = file else { return Ok(()) };
        file.set_modified(time).map_err(|cause| FileError::system("set the time of", &path, cause))
    }

    /// Removes a drop-in of ours, what a killed run left, and the folder if it is empty then. Returns what was there.
    /// Take the lock first.
    ///
    /// # Errors
    /// When that fails, or the drop-in is not ours.
    pub fn remove(&self, unit: &str) -> Result<Option<Found>, FileError> {
        let there = self.look(unit)?;
        let Some(folder) = self.folder(unit)? else { return Ok(None) };
        for name in [TEMPORARY, NAME] {
            remove_file(&folder, name, &self.folder_path(unit).join(name))?;
        }
        folder
            .sync_all()
            .map_err(|cause| FileError::system("write through to the disk", &self.path(unit), cause))?;
        let name = Tree::folder_name(unit);
        match unlinkat(self.system(), name.as_str(), UnlinkatFlags::RemoveDir) {
            // With other drop-ins in it, a symlink, a mount.
            Ok(())
            | Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR | Errno::EBUSY | Errno::ENOENT) => {}
            Err(errno) => return Err(FileError::system("remove", &self.folder_path(unit), errno)),
        }
        Ok(there)
    }

    fn folder_or_new(&self, unit: &str) -> Result<File, FileError> {
        if let Some(folder) = self.folder(unit)? {
            return Ok(folder);
        }
        let path = self.folder_path(unit);
        let failed = |cause: io::Error| FileError::system("make the folder", &path, cause);
        match mkdirat(self.system(), Tree::folder_name(unit).as_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        let Some(folder) = self.folder(unit)? else {
            return Err(FileError::NotAFile { path, kind: "a symlink that leads nowhere" });
        };
        self.system().sync_all().map_err(failed)?;
        Ok(folder)
    }
}

fn write_temporary(folder: &File, text: &Secret, modified: SystemTime) -> io::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(folder.as_fd(), TEMPORARY, flags, Mode::from_bits_truncate(MODE))?);
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(text.reveal().as_bytes())?;
    // Not left to the file system: its clock may be some milliseconds behind, and a unit that was started in these
    // would look as if it had been started afterwards.
    file.set_modified(modified)?;
    file.sync_all()
}

fn remove_file(folder: &File, name: &'static str, path: &Path) -> Result<(), FileError> {
    match unlinkat(folder.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(FileError::system("remove", path, errno)),
    }
}

/// Opens a drop-in for reading, if it is a file: to open anything else may have effects, or wait.
fn open_file(folder: &File, path: &Path) -> Result<Option<File>, FileError> {
    let failed = |errno: Errno| FileError::system("open", path, errno);
    let there = match fstatat(folder.as_fd(), NAME, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(there) => there,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    if let Some(kind) = not_a_file(SFlag::from_bits_truncate(there.st_mode)) {
        return Err(FileError::NotAFile { path: path.to_owned(), kind });
    }
    // Should it have been replaced meanwhile.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match openat(folder.as_fd(), NAME, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

/// What else it is, with its article.
fn not_a_file(mode: SFlag) -> Option<&'static str> {
    match mode & SFlag::S_IFMT {
        SFlag::S_IFREG => None,
        SFlag::S_IFLNK => Some("a symlink"),
        SFlag::S_IFDIR => Some("a folder"),
        SFlag::S_IFIFO => Some("a pipe"),
        SFlag::S_IFSOCK => Some("a socket"),
        _ => Some("a device"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_mode_and_owner_count() {
        let ours = geteuid().as_raw();
        for (text, mode, uid, differs) in [
            ("a", 0o600, ours, None),
            ("b", 0o600, ours, Some("its content differs".to_owned())),
            ("a", 0o644, ours, Some("its mode is 0644 instead of 0600".to_owned())),
            ("a", 0o600, ours + 1, Some(format!("its owner is uid {} instead of {ours}", ours + 1))),
        ] {
            let found = Found { text: Secret::new(text), mode, uid, modified: SystemTime::UNIX_EPOCH };
            assert_eq!(found.differs(&Secret::new("a")), differs);
        }
    }
}
