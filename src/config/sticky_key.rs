//! The key of sticky cookies, which the proxies of a fleet share.

use std::{fmt, fs, io::Read as _, path::Path};

use base64::{
    DecodeError, Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig},
    },
};
use zeroize::Zeroizing;

use crate::balance::StickyKey;

/// The fewest bytes of a key: as many as its signatures have.
pub(crate) const SHORTEST: usize = 32;

/// The most bytes of the file.
const LONGEST_FILE: u64 = 4096;

/// The usual alphabet; the `=` at the end may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What to do about a file that holds no key.
pub(super) const ADVICE: &str = "make one for all proxies of the fleet: openssl rand -base64 32";

/// Why a file holds no key. The message says nothing of what the file holds.
#[derive(Debug)]
pub struct StickyKeyError(String);

impl fmt::Display for StickyKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StickyKeyError {}

/// Reads a file with one line of base64, of [`SHORTEST`] bytes or more.
///
/// # Errors
/// There is no such file, or the file holds something else. The message names the file and the place in it.
#[expect(clippy::disallowed_methods, reason = "read at the start and for a reload, by no worker")]
pub(crate) fn read(path: &Path) -> Result<StickyKey, StickyKeyError> {
    let named = |why: &dyn fmt::Display| StickyKeyError(format!("{}: {why}", path.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    let file = fs::File::open(path).map_err(|error| named(&error))?;
    // One byte more than a key may have: the path may lead to an endless file.
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| named(&error))?;
    parse(&bytes).map_err(|(column, why)| match column {
        Some(column) => StickyKeyError(format!("{}:1:{column}: {why}", path.display())),
        None => named(&why),
    })
}

/// The key in the content of a file, or what is wrong and in which column of the first line.
fn parse(bytes: &[u8]) -> Result<StickyKey, (Option<usize>, String)> {
    if bytes.len() as u64 > LONGEST_FILE {
        return Err((None, format!("a key is one line, and this file has more than {LONGEST_FILE} bytes")));
    }
    let line = bytes.trim_ascii_end();
    if line.contains(&b'\n') {
        return Err((None, "a key is one line, and this file has several".to_owned()));
    }
    let secret = BASE64.decode(line).map(Zeroizing::new).map_err(|error| match error {
        DecodeError::InvalidByte(place, _) | DecodeError::InvalidLastSymbol { offset: place, .. } => {
            (Some(place + 1), "this is no base64".to_owned())
        }
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            (Some(line.len()), "the base64 is cut off here".to_owned())
        }
    })?;
    if secret.len() < SHORTEST {
        return Err((None, format!("a key has {SHORTEST} bytes or more, and this one has {}", secret.len())));
    }
    Ok(StickyKey::new(&secret))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use fs_err as fs;

    use super::*;

    #[test]
    fn a_key_is_one_line_of_base64_and_what_else_a_file_holds_is_told_by_its_place() {
        let (key, long) = (STANDARD.encode([0xf7; 32]), STANDARD.encode([0xf7; 100]));
        let bare = STANDARD_NO_PAD.encode([0xf7; 32]);
        for good in [key.clone(), format!("{key}\n"), format!("{key}\r\n\n"), bare, long] {
            assert!(parse(good.as_bytes()).is_ok(), "{good}");
        }
        for (bad, column, said) in [
            (String::new(), None, "has 0"),
            (STANDARD.encode([7; 31]), None, "a key has 32 bytes or more, and this one has 31"),
            (format!("{key}\n{key}\n"), None, "several"),
            (format!(" {key}"), Some(1), "no base64"),
            (key.replacen('/', "-", 1), Some(2), "no base64"),
            (format!("{}é", &key[..8]), Some(9), "no base64"),
            (key[..41].to_owned(), Some(41), "cut off"),
            ("A".repeat(5000), None, "more than 4096"),
        ] {
            let (found, why) = parse(bad.as_bytes()).unwrap_err();
            assert_eq!(found, column, "{bad}: {why}");
            assert!(why.contains(said), "{bad}: {why}");
        }
    }

    #[test]
    fn a_wrong_file_is_named_and_nothing_of_it_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sticky.key");
        assert!(read(&file).unwrap_err().to_string().starts_with(&format!("{}: ", file.display())));
        fs::write(&file, "c2VjcmV0!\n").unwrap();
        assert_eq!(read(&file).unwrap_err().to_string(), format!("{}:1:9: this is no base64", file.display()));
    }
}
