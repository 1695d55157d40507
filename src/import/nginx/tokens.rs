//! The words and marks of an nginx configuration.

/// A word of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConfWord {
    pub(super) text: String,
    /// Whether it stood in quotes.
    pub(super) is_quoted: bool,
}

/// A part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConfToken {
    Text(ConfWord),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// Reads one file. The rules are those of nginx: a quote or `#` means something at the beginning of a word only, a backslash
/// keeps what follows from meaning anything, and `${` does not open a block.
#[derive(Debug)]
pub(super) struct ConfReader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> ConfReader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { text, at: 0, line: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    /// The next part with its line; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with the text, with its line.
    pub(super) fn next(&mut self) -> Result<Option<(ConfToken, usize)>, (usize, String)> {
        loop {
            match self.peek() {
                None => return Ok(None),
                Some(b' ' | b'\t' | b'\r' | b'\n') => drop(self.step()),
                Some(b'#') => while self.step().is_some_and(|byte| byte != b'\n') {},
                Some(_) => break,
            }
        }
        let line = self.line;
        let token = match self.peek() {
            Some(b';') => ConfToken::End,
            Some(b'{') => ConfToken::Open,
            Some(b'}') => ConfToken::Close,
            Some(quote @ (b'"' | b'\'')) => {
                self.step();
                return Ok(Some((ConfToken::Text(self.quoted(quote, line)?), line)));
            }
            _ => return Ok(Some((ConfToken::Text(self.bare()), line))),
        };
        self.step();
        Ok(Some((token, line)))
    }

    fn quoted(&mut self, quote: u8, line: usize) -> Result<ConfWord, (usize, String)> {
        let start = self.at;
        loop {
            match self.step() {
                None => return Err((line, "a quote is not closed".to_owned())),
                Some(b'\\') => drop(self.step()),
                Some(byte) if byte == quote => break,
                Some(_) => {}
            }
        }
        let text = unescaped(self.text.get(start..self.at - 1).unwrap_or_default());
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ok(ConfWord { text, is_quoted: true }),
            Some(_) => Err((self.line, "a space or `;` is missing behind a closed quote".to_owned())),
        }
    }

    fn bare(&mut self) -> ConfWord {
        let start = self.at;
        loop {
            match self.peek() {
                None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') => break,
                Some(b'\\') => {
                    self.step();
                    self.step();
                }
                Some(b'$') => {
                    self.step();
                    if self.peek() == Some(b'{') {
                        self.step();
                    }
                }
                Some(_) => drop(self.step()),
            }
        }
        let end = (self.at..=self.text.len()).find(|end| self.text.is_char_boundary(*end)).unwrap_or(self.text.len());
        self.at = end;
        ConfWord { text: unescaped(self.text.get(start..end).unwrap_or_default()), is_quoted: false }
    }

    /// Goes over a block in another language, up to the brace that closes it: Lua's strings and comments may hold braces.
    ///
    /// # Errors
    /// The block is not closed.
    pub(super) fn skip_code(&mut self, line: usize) -> Result<(), (usize, String)> {
        let mut depth = 1_usize;
        while let Some(byte) = self.step() {
            match byte {
                b'{' => depth += 1,
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                b'-' if self.peek() == Some(b'-') => while self.step().is_some_and(|byte| byte != b'\n') {},
                b'"' | b'\'' => self.skip_string(byte),
                _ => {}
            }
        }
        Err((line, "a block is not closed".to_owned()))
    }

    fn skip_string(&mut self, quote: u8) {
        while let Some(byte) = self.step() {
            match byte {
                b'\\' => drop(self.step()),
                b'\n' => return,
                byte if byte == quote => return,
                _ => {}
            }
        }
    }
}

/// A word without the backslashes that nginx takes away.
fn unescaped(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let meant = match (c, rest.peek()) {
            ('\\', Some('"')) => '"',
            ('\\', Some('\'')) => '\'',
            ('\\', Some('\\')) => '\\',
            ('\\', Some('t')) => '\t',
            ('\\', Some('r')) => '\r',
            ('\\', Some('n')) => '\n',
            _ => {
                word.push(c);
                continue;
            }
        };
        rest.next();
        word.push(meant);
    }
    word
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, (usize, String)> {
        let (mut reader, mut found) = (ConfReader::new(text), Vec::new());
        while let Some((token, _)) = reader.next()? {
            found.push(match token {
                ConfToken::Text(word) => word.text,
                ConfToken::End => ";".to_owned(),
                ConfToken::Open => "{".to_owned(),
                ConfToken::Close => "}".to_owned(),
            });
        }
        Ok(found)
    }

    #[test]
    fn words_are_cut_as_nginx_cuts_them() {
        for (text, words) in [
            ("a b;", &["a", "b", ";"][..]),
            ("a 'b c' \"d;e\";", &["a", "b c", "d;e", ";"]),
            ("a b#c; # comment ; {\nd;", &["a", "b#c", ";", "d", ";"]),
            ("location ~ \\.php${x} {", &["location", "~", "\\.php${x}", "{"]),
            ("if ($a = \"b\") { }", &["if", "($a", "=", "b", ")", "{", "}"]),
            ("a \\;b \\{ it\\'s;", &["a", "\\;b", "\\{", "it's", ";"]),
            ("a 'x\\'y' é{", &["a", "x'y", "é", "{"]),
            ("a\\", &["a\\"]),
            ("a \\é;", &["a", "\\é", ";"]),
        ] {
            assert_eq!(read(text).unwrap(), words, "{text}");
        }
        assert_eq!(read("a;\n b 'c\n d").unwrap_err(), (2, "a quote is not closed".to_owned()));
        assert_eq!(read("a 'b'c;").unwrap_err().0, 1);
    }
}
