//! The token of the admin interface, and that of probes.

use std::{fmt, fs, io, path::Path};

use hyper::{HeaderMap, header::AUTHORIZATION};
use subtle::ConstantTimeEq as _;

/// The fewest characters of a token. Fewer could be guessed.
const SHORTEST: usize = 16;
const LONGEST: usize = 1024;

/// The secret that a request has to show.
pub(crate) struct Token(Vec<u8>);

/// Reads a file whose only word is the token.
///
/// # Errors
/// There is no such file, or its content cannot be a token.
#[expect(clippy::disallowed_methods, reason = "read at the start and for a reload, by no worker")]
pub(crate) fn read(file: &Path) -> io::Result<Token> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let length = fs::metadata(file).map_err(named)?.len();
    let text = if length > 2 * LONGEST as u64 { String::new() } else { fs::read_to_string(file).map_err(named)? };
    let token = text.trim().as_bytes();
    if !(SHORTEST..=LONGEST).contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
        let message = format!("a token is one word of {SHORTEST} to {LONGEST} visible characters");
        return Err(named(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    Ok(Token(token.to_vec()))
}

impl Token {
    /// Whether a request shows the token: `Authorization: Bearer TOKEN`, once.
    pub(crate) fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter().map(|value| value.as_bytes());
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let mut words = value.splitn(2, |byte| *byte == b' ');
        let is_bearer = words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
        words.next().is_some_and(|shown| self.is(shown.trim_ascii())) && is_bearer
    }

    /// Whether `shown` is the token. The time that this takes tells nothing of the token but its length.
    fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fs_err as fs;

    use super::read as open;

    #[test]
    fn a_token_is_one_word_of_some_length_and_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            open(&file)
        };
        let token = read("0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        for wrong in ["", "short", "two words of some length", &"x".repeat(5000)] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(super::read(&folder.path().join("none")).is_err());
    }
}
