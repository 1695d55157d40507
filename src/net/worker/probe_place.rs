//! Where the far end of probes is, and who may use it.

use std::io;

use crate::config::{
    Config, ProbeSettings,
    token::{self, Token},
};

/// The path at which this process answers probes, on every host, and the token that they have to show.
#[derive(Debug)]
pub(in crate::net) struct ProbePlace {
    path: String,
    pub(in crate::net) token: Token,
}

impl ProbePlace {
    /// Reads the token. `None` = the file has no such place.
    ///
    /// # Errors
    /// The token cannot be read.
    pub(in crate::net) fn read(config: &Config) -> io::Result<Option<Self>> {
        let read = |ProbeSettings { path, token_file }: &ProbeSettings| {
            Ok(Self { path: path.clone(), token: token::read(token_file)? })
        };
        config.probe.as_ref().map(read).transpose()
    }

    /// Whether a request with this path asks for it.
    pub(in crate::net) fn is_at(&self, path: &str) -> bool {
        path == self.path
    }
}
