//! Why a demo cannot run.

use std::{error::Error, fmt, io, time::Duration};

use tokio_tungstenite::tungstenite;

use super::MIN_CUT;
use crate::net::server::StartError;

/// Why the demo could not run.
#[derive(Debug)]
pub enum DemoError {
    /// `--cut` is shorter than [`super::MIN_CUT`]: wrong usage.
    CutTooShort(Duration),
    /// `--for` ends before the cut could be seen (`cut` + [`super::MARGIN`]): wrong usage.
    EndsTooEarly {
        /// What `--for` says.
        run_for: Duration,
        /// The least that `--for` must be.
        least: Duration,
    },
    /// The shipped configuration was refused. The text is that of its diagnostics.
    Config(String),
    /// The shipped configuration has no listener without TLS.
    NoPlainListener,
    /// The proxy did not start.
    Start(StartError),
    /// A client could not open its WebSocket.
    Open(&'static str, Box<tungstenite::Error>),
    /// A socket, a folder or the terminal failed.
    Io(io::Error),
}

impl DemoError {
    /// 2 for wrong usage, 1 for everything else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::CutTooShort(_) | Self::EndsTooEarly { .. } => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutTooShort(cut) => {
                write!(f, "--cut {cut:?} is too short to tell silence from delay: use {MIN_CUT:?} or more")
            }
            Self::EndsTooEarly { run_for, least } => {
                write!(
                    f,
                    "--for {run_for:?} ends before the cut can be seen: use {least:?} or more, or a shorter --cut"
                )
            }
            Self::Config(refused) => write!(f, "the shipped proxy.yaml was refused:\n{refused}"),
            Self::NoPlainListener => f.write_str("the shipped proxy.yaml has no listener without TLS"),
            Self::Start(error) => write!(f, "longwire did not start: {error}"),
            Self::Open(way, error) => {
                write!(f, "the {way} client could not open its WebSocket: {error}")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Error for DemoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open(_, error) => Some(error.as_ref()),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
