//! What a session outlives of its backend, as an item of `hold.on`: `lost`, or the code of a Close.

use std::fmt;

use super::bad_value::BadValue;
use crate::ws::close::CloseCode;

/// One end of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldTrigger {
    /// A FIN, a reset, or silence for too long.
    Lost,
    /// A Close with this code; 1005 = without a code.
    Code(CloseCode),
}

impl HoldTrigger {
    pub(super) const KIND: &str = "`lost` or the code of a Close";
    pub(super) const PATTERN: &str = r"^(lost|[1-4][0-9]{3})$|\$\{";
    const HELP: &str = "lost, 1001, 1005 (a Close without a code), 1011 to 1014, or 3000 to 4999";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        match text.parse() {
            _ if text == "lost" => Ok(Self::Lost),
            Ok(code @ (1001 | 1005 | 1011..=1014 | 3000..=4999)) => Ok(Self::Code(CloseCode(code))),
            Ok(code) => Err(BadValue::new(format!("no session is held for {code}"), Self::HELP)),
            Err(_) => Err(BadValue::new(format!("`{text}` is no end of a backend"), Self::HELP)),
        }
    }
}

impl fmt::Display for HoldTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("lost"),
            Self::Code(code) => write!(f, "{}", code.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_shown_as_it_was_written_and_ends_that_say_no_are_refused() {
        for text in ["lost", "1001", "1005", "1011", "1014", "3000", "4999"] {
            assert_eq!(HoldTrigger::parse(text).unwrap().to_string(), text);
        }
        for text in ["1000", "1002", "1003", "1006", "1007", "1010", "1015", "2999", "5000", "Lost", "", "-1", "1e3"] {
            assert!(HoldTrigger::parse(text).is_err(), "{text}");
        }
    }
}
