//! Why no WebSocket of a target can be opened at all.

use std::{error::Error, fmt, io};

use tokio_rustls::rustls;

/// Why no WebSocket of a target can be opened.
#[derive(Debug)]
pub enum OpenerError {
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
    /// The machine failed.
    Io(io::Error),
}

impl fmt::Display for OpenerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "the host cannot be resolved: {error}"),
            Self::Name(host) => write!(f, "{host} is no name that a certificate could have"),
            Self::Header(text) => write!(f, "the headers cannot be sent: {text}"),
            Self::NoRoots => f.write_str(
                "this system trusts no certificate authority: name a file in SSL_CERT_FILE, or use --insecure",
            ),
            Self::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Error for OpenerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Resolve(error) | Self::Io(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Name(_) | Self::Header(_) | Self::NoRoots => None,
        }
    }
}

impl From<io::Error> for OpenerError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
