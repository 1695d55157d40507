//! A line on the terminal that shows the progress. Without a terminal, nothing is shown.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use super::{report::thousands, workspace::SharedWorkspace};

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

    /// Draws the line again.
    pub(super) fn draw(&mut self, passed: Option<Duration>, workspaces: &[SharedWorkspace]) {
        if !self.live {
            return;
        }
        let (mut open, mut done, mut pings, mut closes, mut failures) = (0, 0, 0, 0, 0);
        for workspace in workspaces {
            let workspace = workspace.lock();
            open += workspace.open;
            done += workspace.tally.done;
            pings += workspace.tally.pings;
            closes += workspace.tally.closes.values().sum::<u64>();
            failures += workspace.tally.failures.values().sum::<u64>();
        }
        let at = passed.map_or_else(|| "opening".to_owned(), |passed| format!("{:6.1} s", passed.as_secs_f64()));
        let mut line = format!("{at}   {} open   {} done", thousands(open), thousands(done));
        for (count, what) in [(pings, "pings"), (closes, "closed unexpectedly"), (failures, "failed to open")] {
            if count > 0 {
                line.push_str(&format!("   {} {what}", thousands(count)));
            }
        }
        // A terminal that has gone away is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush());
        self.drawn = true;
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\x1b[K").and_then(|()| io::stderr().flush());
        }
    }
}
