//! A line on the terminal that shows the progress of a tool. Without a terminal, nothing is shown.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

/// How often the line is redrawn.
pub(super) const REDRAW: Duration = Duration::from_millis(250);

/// The line goes to standard error, so that standard output has only the result.
pub(super) struct ProgressLine {
    live: bool,
    drawn: bool,
}

impl ProgressLine {
    pub(super) fn of_stderr() -> Self {
        let capable = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self { live: io::stderr().is_terminal() && capable, drawn: false }
    }

    /// Whether somebody sees the line.
    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    /// Draws the line again.
    pub(super) fn draw(&mut self, line: impl FnOnce() -> String) {
        if !self.live {
            return;
        }
        // A terminal that has gone away is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{}", line()).and_then(|()| io::stderr().flush());
        self.drawn = true;
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\x1b[K").and_then(|()| io::stderr().flush());
        }
    }
}
