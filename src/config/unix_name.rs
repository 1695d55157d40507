//! The name of a Unix socket, as the file has it: `unix:/path`, or `unix:@name` for an abstract one.

use std::{fmt, path::PathBuf};

use super::bad_value::BadValue;

/// The name of a Unix socket. Paths are compared part by part: `/run//a` is `/run/a`. Links are not followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnixName {
    /// A path in the file system. The rights of the file say who may connect.
    Path(PathBuf),
    /// A name in the abstract namespace, which belongs to the network namespace (unix(7)). Everybody in there may connect.
    Abstract(String),
}

impl UnixName {
    /// What each name begins with.
    pub const PREFIX: &str = "unix:";
    /// The most bytes of a path or an abstract name. `sun_path` (unix(7)) has one byte more: the zero byte behind a path,
    /// or before an abstract name.
    pub(super) const LONGEST: usize = 107;

    /// The name in an address that was checked. `None` = the address is that of no Unix socket.
    #[must_use]
    pub fn of(address: &str) -> Option<Self> {
        let name = address.strip_prefix(Self::PREFIX)?;
        Some(match name.strip_prefix('@') {
            Some(name) => Self::Abstract(name.to_owned()),
            None => Self::Path(name.into()),
        })
    }

    /// Reads a name, which must be whole: a relative path would mean another file in another folder.
    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let wrong = |what: &str, help: &str| Err(BadValue::new(format!("`{text}` {what}"), help.to_owned()));
        let (length, is_whole) = match Self::of(text) {
            Some(Self::Path(path)) => (path.as_os_str().len(), path.is_absolute() && !text.ends_with('/')),
            Some(Self::Abstract(name)) => (name.len(), !name.is_empty()),
            None => (0, false),
        };
        match Self::of(text) {
            _ if text.starts_with("unix://") => Err(Self::instead_of(text)),
            _ if text.contains(|c: char| c.is_control()) => {
                wrong("has a control character", "a socket needs a name that can be written")
            }
            _ if length > Self::LONGEST => {
                wrong("is too long for a socket", "at most 107 bytes behind `unix:`, or behind `unix:@`")
            }
            Some(name) if is_whole => Ok(name),
            _ => {
                wrong("names no socket", "write the whole path, unix:/run/app.sock, or unix:@name for an abstract one")
            }
        }
    }

    /// Whether `text` is a Unix socket as another proxy would write it.
    pub(super) fn is_meant_by(text: &str) -> bool {
        text.starts_with('/') && !text.starts_with("//")
            || ["unix:", "unix/", "unix@", "abns@", "abnsz@"].iter().any(|word| text.starts_with(word))
    }

    /// What is wrong with `text`, which means a Unix socket in the words of another proxy.
    pub(super) fn instead_of(text: &str) -> BadValue {
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let words = ["unix://", "unix:", "unix@", "unix/", "fd://"];
        let path = words.iter().find_map(|word| bare.strip_prefix(word)).unwrap_or(bare);
        // In `proxy_pass` of nginx, a colon and a URI follow the path.
        let path = path.split_once(":/").map_or(path, |(path, _)| path).trim_end_matches(':');
        let name = ["abns@", "abnsz@"].iter().find_map(|word| bare.strip_prefix(word));
        let meant = match name {
            Some(name) => format!("write unix:@{name}"),
            None if path.starts_with('/') => format!("write unix:/{}", path.trim_start_matches('/')),
            None => "write the whole path: unix:/run/app.sock".to_owned(),
        };
        BadValue::new(format!("`{text}` is not how a Unix socket is written"), meant)
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_whole_path_or_an_abstract_one_and_comes_back_as_it_was() {
        let longest = format!("unix:/{}", "x".repeat(106));
        let longest_abstract = format!("unix:@{}", "x".repeat(107));
        for text in ["unix:/run/app.sock", "unix:@app", "unix:@a/b", &longest, &longest_abstract] {
            let name = UnixName::parse(text).unwrap();
            assert_eq!((name.to_string(), UnixName::of(text)), (text.to_owned(), Some(name)));
        }
        for refused in [
            "unix:",
            "unix:@",
            "unix:app.sock",
            "unix:./app.sock",
            "unix:/run/",
            "unix:/run/a\n",
            "unix:///run/app.sock",
        ] {
            assert!(UnixName::parse(refused).is_err(), "{refused}");
        }
        for too_long in [longest + "x", longest_abstract + "x"] {
            assert!(UnixName::parse(&too_long).unwrap_err().message.contains("too long"), "{too_long}");
        }
        assert_eq!(UnixName::of("127.0.0.1:80"), None);
    }

    #[test]
    fn words_of_other_proxies_are_told_how_they_are_written_here() {
        for (text, meant) in [
            ("/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
            ("unix@/run/app.sock", "unix:/run/app.sock"),
            ("unix//run/app.sock", "unix:/run/app.sock"),
            ("http://unix:/run/app.sock:/uri", "unix:/run/app.sock"),
            ("http://unix:/run/app.sock:", "unix:/run/app.sock"),
            ("abns@app", "unix:@app"),
            ("unix/app.sock", "unix:/run/app.sock"),
        ] {
            let help = UnixName::instead_of(text).help.unwrap();
            assert!(help.ends_with(meant) && UnixName::parse(meant).is_ok(), "{text}: {help}");
        }
    }

    #[test]
    fn one_path_may_be_written_in_several_ways() {
        let name = |text: &str| UnixName::of(text).unwrap();
        assert_eq!(name("unix:/run//app.sock"), name("unix:/run/./app.sock"));
        assert_ne!(name("unix:/run/app.sock"), name("unix:/run/App.sock"));
        assert_ne!(name("unix:@app"), name("unix:/app"));
    }
}
