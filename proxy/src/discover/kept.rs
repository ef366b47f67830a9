//! The last list of endpoints, kept in a file for a start while the API server is away.

use std::{
    fs, io,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::resolve::merge::MOST;

/// Its name in `--state-dir`.
pub const NAME: &str = "endpoints.json";
/// The longest that is read, in bytes: so many of the longest addresses are shorter.
const LONGEST: u64 = 64 * 1024;
/// Of the file's form.
const VERSION: u32 = 1;

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    endpoints: Vec<SocketAddr>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum NotUsed {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("not a list of endpoints as this program writes it")]
    Form,
    /// A later program wrote it.
    #[error("of another version of the program")]
    Version,
    /// More than are ever written.
    #[error("more than {MOST} endpoints")]
    TooMany,
}

/// The endpoints in the bytes of a file.
///
/// # Errors
/// When they are not what was written.
pub fn read(bytes: &[u8]) -> Result<Vec<SocketAddr>, NotUsed> {
    let content: Content = serde_json::from_slice(bytes).map_err(|_| NotUsed::Form)?;
    match content {
        Content { version, .. } if version != VERSION => Err(NotUsed::Version),
        Content { endpoints, .. } if endpoints.len() > MOST => Err(NotUsed::TooMany),
        Content { endpoints, .. } => Ok(endpoints),
    }
}

/// The bytes of a file with these.
#[must_use]
pub fn written(endpoints: &[SocketAddr]) -> Vec<u8> {
    let endpoints = endpoints.iter().take(MOST).copied().collect();
    let mut bytes = serde_json::to_vec(&Content { version: VERSION, endpoints }).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Reads the folder's file; none if there is none.
///
/// # Errors
/// When it is not used.
pub fn load(folder: &Path) -> Result<Option<Vec<SocketAddr>>, NotUsed> {
    match common::files::read(&folder.join(NAME), LONGEST) {
        Ok(bytes) => read(&bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Puts the folder's file in place, whole or not at all: another proxy may write or read at the same time.
///
/// # Errors
/// What the system says.
pub fn store(folder: &Path, endpoints: &[SocketAddr]) -> io::Result<()> {
    let beside = folder.join(format!(".{NAME}.{:016x}", fastrand::u64(..)));
    let put = |beside: &PathBuf| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(beside)?;
        file.write_all(&written(endpoints))?;
        file.sync_all()?;
        fs::rename(beside, folder.join(NAME))
    };
    put(&beside).inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).unwrap().is_none());
        let endpoints: Vec<SocketAddr> =
            vec!["10.0.0.1:6443".parse().unwrap(), "[fd00::1]:6443".parse().unwrap()];
        for endpoints in [&endpoints[..], &endpoints[..1], &[]] {
            store(folder.path(), endpoints).unwrap();
            assert_eq!(load(folder.path()).unwrap().unwrap(), endpoints);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(store(&folder.path().join("none"), &endpoints).is_err());
        let many: Vec<SocketAddr> =
            (1..=1000).map(|port| SocketAddr::new([0xffff; 8].into(), 60_000 + port)).collect();
        store(folder.path(), &many).unwrap();
        assert_eq!(load(folder.path()).unwrap().unwrap(), many[..MOST]);
    }

    #[test]
    fn anything_else_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let many = serde_json::json!({"version": 1, "endpoints": vec!["10.0.0.1:1"; MOST + 1]}).to_string();
        let long = " ".repeat(70_000);
        for text in [
            "",
            "{",
            "null",
            "[]",
            "{}",
            &many,
            &long,
            r#"{"version":1}"#,
            r#"{"version":2,"endpoints":[]}"#,
            r#"{"version":1,"endpoints":["10.0.0.1"]}"#,
            r#"{"version":1,"endpoints":["api.example:443"]}"#,
            r#"{"version":1,"endpoints":[],"more":1}"#,
        ] {
            fs::write(folder.path().join(NAME), text).unwrap();
            assert!(load(folder.path()).is_err(), "{text:.60}");
        }
        fs::remove_file(folder.path().join(NAME)).unwrap();
        fs::create_dir(folder.path().join(NAME)).unwrap();
        assert!(load(folder.path()).is_err());
    }
}
