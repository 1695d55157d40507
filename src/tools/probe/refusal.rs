//! Why a socket could not be opened.

use crate::tools::opening::OpenError;

/// How the text of a far end begins that has no place for another probe.
const BUSY: &str = "probes:";

/// Why a socket could not be opened, for people.
pub(super) fn why(error: &OpenError) -> String {
    match error {
        OpenError::Refused { status: 503, said, .. } if said.starts_with(BUSY) => {
            "the far end is busy: it answers as many probes as it may (503)".to_owned()
        }
        OpenError::Refused { said, .. } if is_busy(error) => {
            format!("the other end takes no more connections now: {error}{}", quoted(said))
        }
        OpenError::Refused { said, .. } => format!("{error}{}", quoted(said)),
        error => error.to_string(),
    }
}

/// Whether another attempt may have more luck, because the other end has no place for the moment.
pub(super) const fn is_busy(error: &OpenError) -> bool {
    matches!(error, OpenError::Refused { status: 429 | 503, .. })
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}
