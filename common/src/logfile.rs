//! A log file that does not grow past its cap.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// An appended file. Once it is `cap` bytes long it is renamed to `NAME.1` (replacing the one before) and begun
/// anew, so that the two together stay below twice the cap. Where the folder can't be written, the file itself
/// is emptied instead, as klog does.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    written: u64,
    /// Bytes; 0 means no cap.
    cap: u64,
}

impl LogFile {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// What opening it answers.
    pub fn open(path: &Path, cap: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, written, cap })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        if std::fs::rename(&self.path, old).is_ok() {
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        } else {
            self.file.set_len(0)?;
        }
        self.written = 0;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.cap > 0 && self.written > 0 && self.written + line.len() as u64 > self.cap {
            self.rotate()?;
        }
        let count = self.file.write(line)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capped_file_keeps_the_newest_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        let mut file = LogFile::open(&path, 30).unwrap();
        for n in 0..10 {
            file.write_all(format!("line {n} ...\n").as_bytes()).unwrap();
        }
        let (now, before) = (
            std::fs::read_to_string(&path).unwrap(),
            std::fs::read_to_string(folder.path().join("agent.log.1")).unwrap(),
        );
        assert!(now.contains("line 9") && now.len() <= 30, "{now}");
        assert!(before.len() <= 30 && !before.contains("line 0"), "{before}");
    }

    #[test]
    fn a_file_that_is_there_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        LogFile::open(&path, 0).unwrap().write_all(b"one\n").unwrap();
        LogFile::open(&path, 0).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
