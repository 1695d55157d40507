//! The limit of open files: two a session, so the soft limit of 1,024 that shells give is 500 sessions.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit; `None` = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// As it was.
    pub before: Option<u64>,
    /// As it is: the hard limit.
    pub now: Option<u64>,
}

/// Raises the soft limit of open files to the hard one.
///
/// # Errors
/// The kernel refuses.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let Rlimit { current: before, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(OpenFiles { before, now: getrlimit(Resource::Nofile).current })
}
