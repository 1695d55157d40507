//! How a request or a session ended. The log, the metrics, the spans and the admin interface all take their word from here.

use serde::{Serialize, Serializer};

use crate::{error::Kind, ws::termination::Cause};

/// How a request or a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A request got a backend's answer, which was passed on whole.
    Answered,
    /// A handshake got a backend's answer that was no upgrade, and that was passed on whole.
    NotUpgraded,
    /// A request was refused, or failed before its answer.
    Failed(Kind),
    /// A session ended; or the answer to a plain request ended too soon.
    Ended(Cause),
}

impl Outcome {
    /// The word for the log, the metrics and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::NotUpgraded => "not_upgraded",
            Self::Failed(kind) => kind.reason(),
            Self::Ended(cause) => cause.as_str(),
        }
    }

    /// Whether a backend answered and the answer was passed on whole.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Answered | Self::NotUpgraded)
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_that_differ_have_different_words() {
        let failures = Kind::ALL.map(Outcome::Failed);
        let all = [Outcome::Answered, Outcome::NotUpgraded].into_iter().chain(failures);
        let words: std::collections::BTreeSet<_> = all.clone().map(Outcome::as_str).collect();
        assert_eq!(words.len(), all.count());
    }
}
