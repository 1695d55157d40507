//! A log file that is opened again on demand, for whoever rotates it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// A file that lines are appended to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Reopen,
}

/// The word that the file is to be opened again under its path. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// The next line goes to what then stands at the path; it is made where nothing does.
    pub fn request(&self) {
        self.0.store(true, Relaxed);
    }
}

impl LogFile {
    /// Opens or makes the file, readable by this user and its group.
    ///
    /// # Errors
    /// It cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, reopen: Reopen::default() })
    }

    /// How to have it opened again.
    #[must_use]
    pub fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Relaxed) {
            match open(&self.path) {
                Ok(file) => self.file = file,
                // What is open is better than nothing.
                Err(error) => tracing::error!(path = %self.path.display(), %error, "the log cannot be opened again"),
            }
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_follow_the_file_until_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut log = LogFile::open(&path).unwrap();
        let reopen = log.reopen();
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &rotated).unwrap();
        log.write_all(b"two\n").unwrap();
        reopen.request();
        log.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/access.log");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let mut log = LogFile::open(&path).unwrap();
        fs::rename(path.parent().unwrap(), folder.path().join("moved")).unwrap();
        log.reopen().request();
        log.write_all(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("moved/access.log")).unwrap(), "one\n");
    }
}
