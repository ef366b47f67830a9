//! Small files, read whole.

use std::{fs, io, io::Read, path::Path};

/// Reads a regular file of at most `longest` bytes.
///
/// # Errors
/// What the system says, or that it is something else: opening a pipe, for instance, would wait for its other end.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let refused = || io::Error::other(format!("not a regular file of {longest} bytes at most"));
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > longest {
        return Err(refused());
    }
    let mut bytes = Vec::new();
    // It may have grown since.
    if fs::File::open(path)?.take(longest + 1).read_to_end(&mut bytes)? as u64 > longest {
        return Err(refused());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_up_to_a_length() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        for (path, longest) in
            [(file.as_path(), 4), (folder.path(), 5), (Path::new("/dev/zero"), 5), (Path::new("/nowhere"), 5)]
        {
            assert!(read(path, longest).is_err(), "{path:?}");
        }
        // Files of the kernel's say that they are empty.
        assert!(read(Path::new("/proc/self/environ"), 1).is_err());
    }
}
