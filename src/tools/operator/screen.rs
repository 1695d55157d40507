//! A terminal that is lent for a while: what stood there before stands there afterwards.

use std::io::{self, Write};

/// The alternate screen, no cursor, and lines that are cut at the edge rather than wrapped.
const BORROW: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Shows one text after another in place, and gives the terminal back when it is dropped.
#[derive(Debug)]
pub(super) struct Screen<W: Write>(W);

impl<W: Write> Screen<W> {
    /// # Errors
    /// The terminal is gone.
    pub(super) fn borrow(mut terminal: W) -> io::Result<Self> {
        terminal.write_all(BORROW.as_bytes())?;
        terminal.flush()?;
        Ok(Self(terminal))
    }

    /// Each line is put in its row, without a clear before it: nothing flickers, and nothing scrolls where the rows are
    /// too few.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        let mut rows = String::new();
        for (row, line) in (1..).zip(text.lines()) {
            rows += &format!("\x1b[{row};1H{line}\x1b[K");
        }
        self.0.write_all(format!("{rows}\x1b[J").as_bytes())?;
        self.0.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        let _ = self.0.write_all(GIVE_BACK.as_bytes()).and_then(|()| self.0.flush());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_back_as_it_was() {
        let mut written = Vec::new();
        let mut screen = Screen::borrow(&mut written).unwrap();
        screen.show("one\n\nthree").unwrap();
        drop(screen);
        let written = String::from_utf8(written).unwrap();
        let shown = "\x1b[1;1Hone\x1b[K\x1b[2;1H\x1b[K\x1b[3;1Hthree\x1b[K\x1b[J";
        assert_eq!(written, format!("{BORROW}{shown}{GIVE_BACK}"));
    }
}
