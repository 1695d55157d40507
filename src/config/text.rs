//! The text of a file.

use std::{io::Read as _, path::Path};

use super::document;

/// Reads a file, but at most one byte more than a configuration may have: `path` may lead to an endless file.
#[expect(clippy::disallowed_methods, reason = "no worker reads the file")]
pub(super) fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(document::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    let too_long = bytes.len() > document::MAX_BYTES;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // The text is cut within a character. The caller will refuse the file for its length.
        Err(error) if too_long => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text")),
    }
}
