//! Why a connection with the server of a fleet is of no use, and what to do about it.

use std::fmt;

use redis::ServerError;

/// Why a connection is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetFailure {
    /// Another server of the cluster has our keys. Its `host:port`; the host is empty if it is the same.
    Moved(String),
    /// The server does not do it now, or nobody can be reached.
    NotNow(String),
    /// Nothing changes until somebody changes the file, or the rights at the server.
    Refused(String),
    /// What comes is not the protocol.
    Broken(String),
}

/// The most bytes of the words of a server that are told.
const LONGEST_REASON: usize = 300;

/// Words of errors that only an operator can end. Old servers put the error of a command within a script behind words of their own.
const REFUSALS: [&str; 8] = [
    "NOPERM",
    "WRONGPASS",
    "NOAUTH",
    "DENIED",
    "ACL failure",
    "user executing the script",
    "invalid password",
    "unknown command",
];

impl FleetFailure {
    /// What an error of the server means. `None` = the server does not have our script.
    pub(super) fn of_refusal(error: &ServerError) -> Option<Self> {
        let details = error.details().unwrap_or_default();
        let text = format!("{} {details}", error.code());
        let text = text.trim_end();
        if text.contains("NOSCRIPT") {
            return None;
        }
        if error.code() == "MOVED" {
            let address = details.split(' ').nth(1).unwrap_or_default();
            return Some(Self::Moved(address.to_owned()));
        }
        let end = (0..=text.len().min(LONGEST_REASON)).rfind(|end| text.is_char_boundary(*end)).unwrap_or_default();
        let told = text[..end].to_owned();
        // `AUTH <password> called without any password configured`.
        let is_refused = REFUSALS.iter().any(|word| text.contains(word)) || text.contains("AUTH <password>");
        Some(if is_refused { Self::Refused(told) } else { Self::NotNow(told) })
    }
}

impl fmt::Display for FleetFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(address) => write!(f, "the keys of the fleet are at {address}"),
            Self::NotNow(text) | Self::Broken(text) => f.write_str(text),
            Self::Refused(text) => write!(f, "the server refuses us: {text}"),
        }
    }
}

impl std::error::Error for FleetFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of an error as a server writes it.
    fn of(text: &str) -> Option<FleetFailure> {
        match redis::parse_redis_value(format!("-{text}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(error)) => FleetFailure::of_refusal(&error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_of_servers_old_and_new_say_what_is_to_be_done() {
        let (not_now, refused) = (FleetFailure::NotNow, FleetFailure::Refused);
        assert_eq!(of("NOSCRIPT No matching script. Please use EVAL."), None);
        assert_eq!(of("MOVED 3999 127.0.0.1:6381"), Some(FleetFailure::Moved("127.0.0.1:6381".into())));
        assert_eq!(of("MOVED 3999"), Some(FleetFailure::Moved(String::new())));
        for text in [
            "READONLY You can't write against a read only replica. script: d27e, on @user_script:85.",
            "LOADING Redis is loading the dataset in memory",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR max number of clients reached",
            "CLUSTERDOWN Hash slot not served",
            "ERR",
        ] {
            assert_eq!(of(text), Some(not_now(text.into())));
        }
        for text in [
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOAUTH Authentication required.",
            "NOPERM User lw has no permissions to run the 'evalsha' command",
            "ERR Error running script (call to f_0): @user_script:9: @user_script: 9: NOPERM this user has no permissions",
            "ERR ACL failure in script: User lw has no permissions to run the 'hset' command script: 1, on @user_script:9.",
            "ERR The user executing the script can't run this command or subcommand script: 6de8, on @user_script:80.",
            "ERR AUTH <password> called without any password configured for the default user.",
            "ERR unknown command 'EVAL'",
        ] {
            assert_eq!(of(text), Some(refused(text.into())));
        }
        assert_eq!(of(&"ä".repeat(1000)).map(|failure| failure.to_string().len()), Some(LONGEST_REASON));
    }
}
