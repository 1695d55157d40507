//! The terminal of the demo: lines that are redrawn if the terminal can do that, otherwise plain lines.

use std::{
    ffi::OsStr,
    io::{self, IsTerminal, Write},
};

/// What the output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Whether lines can be redrawn.
    pub(super) live: bool,
    /// Whether colours are wanted. Only with `live`.
    pub(super) colour: bool,
}

impl Style {
    /// The style for standard output in this environment.
    #[must_use]
    pub(super) fn of_stdout() -> Self {
        let (term, no_color) = (std::env::var_os("TERM"), std::env::var_os("NO_COLOR"));
        Self::pick(io::stdout().is_terminal(), term.as_deref(), no_color.as_deref())
    }

    /// Redraws on a terminal that is not `dumb`. Uses colours too, unless `NO_COLOR` is set and not empty (no-color.org).
    fn pick(terminal: bool, term: Option<&OsStr>, no_color: Option<&OsStr>) -> Self {
        let live = terminal && term.is_some_and(|term| term != "dumb");
        Self { live, colour: live && no_color.is_none_or(OsStr::is_empty) }
    }
}

/// The meaning of a line, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// The default colour of the terminal.
    Plain,
    /// Green: alive, proved.
    Good,
    /// Red: lost, disproved.
    Bad,
}

/// Lines that stay, and below them the live lines.
#[derive(Debug)]
pub(super) struct Screen<W> {
    output: W,
    style: Style,
    /// How many live lines stand above the cursor and are to be drawn over.
    drawn: usize,
}

impl<W: Write> Screen<W> {
    /// A screen that writes to `output`.
    pub(super) const fn new(output: W, style: Style) -> Self {
        Self { output, style, drawn: 0 }
    }

    /// Whether [`Screen::draw`] shows anything.
    #[must_use]
    pub(super) const fn is_live(&self) -> bool {
        self.style.live
    }

    /// Writes a line that stays.
    ///
    /// # Errors
    /// The output cannot be written to.
    pub(super) fn line(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        self.erase()?;
        self.write(tone, text)?;
        self.output.flush()
    }

    /// Redraws the live lines. Does nothing if lines cannot be redrawn.
    ///
    /// # Errors
    /// The output cannot be written to.
    pub(super) fn draw(&mut self, lines: &[(Tone, String)]) -> io::Result<()> {
        if !self.style.live {
            return Ok(());
        }
        self.erase()?;
        // Without autowrap, a narrow window cuts a line. With it, the line would take two rows, and erasing would miss one.
        write!(self.output, "\x1b[?7l")?;
        for (tone, text) in lines {
            self.write(*tone, text)?;
        }
        write!(self.output, "\x1b[?7h")?;
        self.drawn = lines.len();
        self.output.flush()
    }

    /// Moves to the start of the live lines, and clears the screen from there to its end.
    fn erase(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            write!(self.output, "\x1b[{}F\x1b[J", self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }

    fn write(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        let colour = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Plain => return writeln!(self.output, "{text}"),
        };
        if self.style.colour {
            writeln!(self.output, "\x1b[{colour}m{text}\x1b[0m")
        } else {
            writeln!(self.output, "{text}")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_capable_terminal_is_live_and_no_color_is_honoured() {
        let xterm = Some(OsStr::new("xterm"));
        let live = |live, colour| Style { live, colour };
        assert_eq!(Style::pick(true, xterm, None), live(true, true));
        assert_eq!(Style::pick(true, xterm, Some(OsStr::new(""))), live(true, true));
        assert_eq!(Style::pick(true, xterm, Some(OsStr::new("1"))), live(true, false));
        assert_eq!(Style::pick(true, Some(OsStr::new("dumb")), None), live(false, false));
        assert_eq!(Style::pick(true, None, None), live(false, false));
        assert_eq!(Style::pick(false, xterm, None), live(false, false));
    }

    #[test]
    fn off_a_terminal_there_are_only_plain_lines() {
        let shown = show(Style { live: false, colour: false });
        assert_eq!(shown, "start\nlost\n");
    }

    #[test]
    fn without_colours_live_lines_are_still_redrawn() {
        let shown = show(Style { live: true, colour: false });
        assert_eq!(shown, "start\n\x1b[?7la\nb\n\x1b[?7h\x1b[2F\x1b[J\x1b[?7lc\nd\n\x1b[?7h\x1b[2F\x1b[Jlost\n");
    }

    #[test]
    fn colours_end_with_their_line() {
        let shown = show(Style { live: true, colour: true });
        assert!(shown.contains("\x1b[32ma\x1b[0m\n"), "{shown:?}");
        assert!(shown.ends_with("\x1b[31mlost\x1b[0m\n"), "{shown:?}");
    }

    fn show(style: Style) -> String {
        let mut screen = Screen::new(Vec::new(), style);
        screen.line(Tone::Plain, "start").unwrap();
        screen.draw(&[(Tone::Good, "a".to_owned()), (Tone::Plain, "b".to_owned())]).unwrap();
        screen.draw(&[(Tone::Good, "c".to_owned()), (Tone::Plain, "d".to_owned())]).unwrap();
        screen.line(Tone::Bad, "lost").unwrap();
        String::from_utf8(screen.output).unwrap()
    }
}
