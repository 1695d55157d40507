//! Why the load cannot be made.

use std::{error::Error, fmt, io};

use tokio_rustls::rustls;

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
    /// The host has no address.
    Resolve(io::Error),
    /// No certificate can name this host.
    Name(String),
    /// This header cannot be sent.
    Header(String),
    /// The system knows no certificate of an authority.
    NoRoots,
    /// TLS cannot be set up.
    Tls(rustls::Error),
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
            Self::Resolve(error) => write!(f, "the host cannot be resolved: {error}"),
            Self::Name(host) => write!(f, "{host} is no name that a certificate could have"),
            Self::Header(text) => write!(f, "the headers cannot be sent: {text}"),
            Self::NoRoots => f.write_str(
                "this system trusts no certificate authority: name a file in SSL_CERT_FILE, or use --insecure",
            ),
            Self::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
            Self::LoadThread => f.write_str("a thread of the load broke down"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Error for BenchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Resolve(error) | Self::Io(error) => Some(error),
            Self::Tls(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
