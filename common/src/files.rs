//! A file that somebody else writes, read whole.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

/// Reads a regular file of at most so many bytes. A symlink is followed. Blocks; the error does not name the path.
///
/// # Errors
/// When it can't be read, is longer, or is no file: a pipe or a device could be read for ever.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let refuse = || io::Error::other(format!("not a regular file of {longest} bytes at most"));
    // Before it is opened: opening a pipe would wait for its other end.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > longest {
        return Err(refuse());
    }
    let mut bytes = Vec::new();
    // One more, which shows that it has grown.
    fs::File::open(path)?.take(longest.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= longest) { Ok(bytes) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_sensible_length_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        assert_eq!(read(&file("short", "1234"), 4).unwrap(), b"1234");
        assert_eq!(read(&file("empty", ""), 4).unwrap(), b"");
        for path in [file("long", "12345"), folder.path().to_owned(), "/dev/zero".into()] {
            let error = read(&path, 4).unwrap_err().to_string();
            assert_eq!(error, "not a regular file of 4 bytes at most", "{}", path.display());
        }
        assert_eq!(read(&folder.path().join("none"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
