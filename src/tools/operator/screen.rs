//! A terminal that is borrowed for a while. Afterwards it shows what it showed before.

use std::io::{self, IsTerminal as _, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{Interest, unix::AsyncFd};

/// Switches to the alternate screen, hides the cursor, and lets lines be cut at the edge and not wrapped.
const BORROW: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Shows one text after another in the same place. Gives the terminal back when dropped.
#[derive(Debug)]
pub(super) struct AlternateScreen<W: Write>(W);

/// Reads keys as they are pressed, and does not show them. When dropped, the terminal reads whole lines again.
#[derive(Debug)]
pub(super) struct Keyboard {
    terminal: AsyncFd<io::Stdin>,
    before: Termios,
}

impl<W: Write> AlternateScreen<W> {
    /// # Errors
    /// The terminal is gone.
    pub(super) fn borrow(mut terminal: W) -> io::Result<Self> {
        terminal.write_all(BORROW.as_bytes())?;
        terminal.flush()?;
        Ok(Self(terminal))
    }

    /// Shows a text.
    ///
    /// Each line is put into its row without a clear before it, so nothing flickers, and nothing scrolls if there are too few
    /// rows.
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

impl<W: Write> Drop for AlternateScreen<W> {
    fn drop(&mut self) {
        let _ = self.0.write_all(GIVE_BACK.as_bytes()).and_then(|()| self.0.flush());
    }
}

/// How many lines the terminal has; `None` = it does not say.
pub(super) fn rows() -> Option<usize> {
    tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0)
}

impl Keyboard {
    /// Starts to read keys; `None` = nobody types, because standard input is no terminal or has no modes.
    pub(super) fn listen() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that do not own what they name; standard input stays"
        )]
        let terminal = AsyncFd::with_interest(stdin, Interest::READABLE).ok()?;
        let mut modes = before.clone();
        // Keys still make signals, because Ctrl-C is one.
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(terminal.get_ref(), OptionalActions::Now, &modes).ok()?;
        Some(Self { terminal, before })
    }

    /// Ready when `q` was pressed, or the terminal is gone.
    pub(super) async fn quit(&self) {
        let mut read = [0; 64];
        while let Ok(mut ready) = self.terminal.readable().await {
            // An announced byte can be read without waiting.
            match rustix::io::read(self.terminal.get_ref(), &mut read) {
                Ok(0) | Err(_) => return,
                Ok(count) if read[..count].iter().any(|key| matches!(key, b'q' | b'Q')) => return,
                Ok(_) => ready.clear_ready(),
            }
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal.get_ref(), OptionalActions::Now, &self.before);
    }
}

/// Fits the parts into `rows` lines, with an empty line between two parts.
///
/// The first part stays whole. Of the others, the longest are cut, and each of these gets a line that says how many lines are
/// missing.
pub(super) fn fit(parts: &[String], rows: usize) -> String {
    let heights: Vec<usize> = parts.iter().map(|part| part.lines().count()).collect();
    let mut shown = heights.clone();
    let blanks = parts.len().saturating_sub(1);
    // Takes one line at a time from the longest part. There are never many lines.
    while shown.iter().sum::<usize>() + blanks > rows {
        let Some(longest) = shown.iter_mut().skip(1).max().filter(|height| **height > 1) else { break };
        *longest -= 1;
    }
    let parts = parts.iter().zip(heights).zip(shown).map(|((part, height), shown)| {
        if shown == height {
            return part.clone();
        }
        // The line with the count takes the place of one more line.
        let kept: Vec<&str> = part.lines().take(shown.saturating_sub(1)).collect();
        // The head of a table is not one of its items.
        let more = format!("{} more", height - kept.len().max(1));
        [&kept[..], &[more.as_str()]].concat().join("\n")
    });
    parts.collect::<Vec<_>>().join("\n\n").lines().take(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_back_as_it_was() {
        let mut written = Vec::new();
        let mut screen = AlternateScreen::borrow(&mut written).unwrap();
        screen.show("one\n\nthree").unwrap();
        drop(screen);
        let written = String::from_utf8(written).unwrap();
        let shown = "\x1b[1;1Hone\x1b[K\x1b[2;1H\x1b[K\x1b[3;1Hthree\x1b[K\x1b[J";
        assert_eq!(written, format!("{BORROW}{shown}{GIVE_BACK}"));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let part = |name: &str, lines: usize| (0..lines).map(|n| format!("{name}{n}")).collect::<Vec<_>>().join("\n");
        let parts = [part("head", 2), part("route", 3), part("backend", 12)];
        assert_eq!(fit(&parts, 19), parts.join("\n\n"));
        assert_eq!(fit(&parts, 40), parts.join("\n\n"));
        let cut = fit(&parts, 12);
        assert_eq!(cut.lines().count(), 12, "{cut}");
        assert!(cut.starts_with(&parts[..2].join("\n\n")), "{cut}");
        assert!(cut.ends_with("backend2\nbackend3\n8 more"), "{cut}");
        // If all parts are long, each gets its share.
        let cut = fit(&[part("head", 2), part("route", 30), part("backend", 31)], 14);
        assert!(cut.contains("route3\n26 more") && cut.ends_with("backend3\n27 more"), "{cut}");
        for rows in 0..20 {
            assert!(fit(&parts, rows).lines().count() <= rows, "{rows}");
        }
    }
}
