//! A log file that can be opened again, after a program rotated it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::lines::Output;

/// A file to which lines are appended.
///
/// To flush the file, as [`crate::lines::Lines::flush`] does, opens it again: later lines go to the file that then stands at
/// its path. If no file stands there, it is made.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    output: Output,
}

impl LogFile {
    /// Opens the file, or makes it readable by this user and its group.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), output: Output::new(open(path)?)? })
    }
}

impl Write for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.output.write(lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        match open(&self.path).and_then(Output::new) {
            Ok(output) => self.output = output,
            // The file that is open stays in use.
            Err(error) => tracing::error!(path = %self.path.display(), %error, "the log cannot be opened again"),
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "called at the start and at SIGUSR1, by the main thread")]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn lines_follow_the_file_until_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &rotated).unwrap();
        log.write_all(b"two\n").unwrap();
        log.flush().unwrap();
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
        log.flush().unwrap();
        log.write_all(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("moved/access.log")).unwrap(), "one\n");
    }
}
