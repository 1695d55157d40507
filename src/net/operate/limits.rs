//! The limit of open files. A session takes two, so that the soft limit of 1,024 that shells give is enough for 500 sessions.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit on open files. `None` = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit before it was raised.
    pub before: Option<u64>,
    /// The limit now, which is the hard limit.
    pub now: Option<u64>,
}

/// Raises the soft limit of open files to the hard one.
///
/// # Errors
/// The kernel refuses to raise the limit.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let Rlimit { current: before, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(OpenFiles { before, now: getrlimit(Resource::Nofile).current })
}
