//! Why the load cannot be made.

use std::{error::Error, fmt, io};

use crate::tools::opening::OpenerError;

/// Why no load could be made.
#[derive(Debug)]
pub enum BenchError {
    /// There are more connections than the process may have open files.
    OpenFiles {
        /// Connections asked for.
        wanted: u64,
        /// The limit of open files.
        files: u64,
    },
    /// There are more connections than local ports.
    Ports {
        /// Connections asked for.
        wanted: u64,
        /// How many local ports there are.
        ports: u64,
    },
    /// No WebSocket of the target can be opened.
    Opener(OpenerError),
    /// A thread of the load broke down.
    LoadThread,
    /// A socket or the machine failed.
    Io(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenFiles { wanted, files } => {
                write!(
                    f,
                    "{wanted} connections need more than the {files} open files that this process may have: ulimit -n"
                )
            }
            Self::Ports { wanted, ports } => write!(
                f,
                "{wanted} connections are more than the {ports} local ports (net.ipv4.ip_local_port_range): run several from \
                 several addresses"
            ),
            Self::Opener(error) => error.fmt(f),
            Self::LoadThread => f.write_str("a thread of the load broke down"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Error for BenchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Opener(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::OpenFiles { .. } | Self::Ports { .. } | Self::LoadThread => None,
        }
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<OpenerError> for BenchError {
    fn from(error: OpenerError) -> Self {
        Self::Opener(error)
    }
}
