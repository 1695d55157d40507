//! A file, a pipe or a terminal to which other programs may write too.

use std::{
    fs::File,
    io::{self, Write},
};

use rustix::pipe::PIPE_BUF;

/// An output that keeps our lines whole among the lines of others.
#[derive(Debug)]
pub struct Output {
    file: File,
    /// The most bytes of lines for one write.
    most: usize,
}

impl Output {
    /// A file takes any number of bytes in one piece. A pipe takes `PIPE_BUF` bytes; two processes share it during a
    /// hand-over.
    ///
    /// # Errors
    /// The kernel does not say what kind of file this is.
    pub fn new(file: File) -> io::Result<Self> {
        let most = if file.metadata()?.is_file() { usize::MAX } else { PIPE_BUF };
        Ok(Self { file, most })
    }
}

impl Write for Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.file.write(piece(lines, self.most))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The first of these lines: as many as `most` bytes hold, but at least one.
fn piece(lines: &[u8], most: usize) -> &[u8] {
    let Some((first, _)) = lines.split_at_checked(most) else { return lines };
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
    let end = end(first).or_else(|| lines.iter().position(|byte| *byte == b'\n'));
    end.and_then(|end| lines.get(..=end)).unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_given_as_many_whole_lines_as_it_takes_in_one_piece() {
        for (lines, most, first) in [
            ("one\ntwo\n", 8, "one\ntwo\n"),
            ("one\ntwo\n", 7, "one\n"),
            ("one\ntwo\n", 4, "one\n"),
            // The rest of a line, and a line that is too long for the pipe.
            ("ne\ntwo\n", 5, "ne\n"),
            ("one\ntwo\n", 3, "one\n"),
            ("one", 2, "one"),
        ] {
            assert_eq!(piece(lines.as_bytes(), most), first.as_bytes(), "{lines:?}, {most}");
        }
    }
}
