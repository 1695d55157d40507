//! SIGUSR2: starts the program that is on the disk now, with the same command line, so that it takes over from this process.
//!
//! The new process is in the same cgroup and the same sandbox as this one, which no command beside the service could give it.
//! A process in between starts it and ends at once, so that the service manager becomes its parent: systemd does not wait at a
//! stop for a main process that was not its child when it was named, but kills it.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
    time::Timespec,
};
use tokio::task::spawn_blocking;

/// The variable that tells a process to start another one like itself, and to end.
const IN_BETWEEN: &str = "LONGWIRE_IN_BETWEEN";

/// The variable with the id of the process that started this one to be its successor.
const STARTED_BY: &str = "LONGWIRE_STARTED_BY";

/// What the service manager says of the sockets that it passed to this process. They are not for another process: a successor gets
/// them with the hand-over.
const PASSED: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Starts the program of the disk. Its own messages tell what comes of it.
pub(super) fn start() {
    let started = thread::Builder::new().name("upgrade".into()).spawn(|| {
        let own_id = std::process::id().to_string();
        let ended = again().and_then(|mut command| command.env(IN_BETWEEN, "1").env(STARTED_BY, own_id).status());
        match ended {
            Ok(status) if status.success() => tracing::info!("SIGUSR2: a new process is to take over"),
            Ok(status) => tracing::error!(%status, "SIGUSR2: no new process could be started"),
            Err(error) => tracing::error!(%error, "SIGUSR2: no new process could be started"),
        }
    });
    if let Err(error) = started {
        tracing::error!(%error, "SIGUSR2: no new process could be started");
    }
}

/// If this process is the one in between: starts the new process, and returns the exit code with which this one ends.
#[must_use]
pub fn stand_between() -> Option<ExitCode> {
    std::env::var_os(IN_BETWEEN)?;
    Some(match again().and_then(|mut command| command.env_remove(IN_BETWEEN).spawn()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    })
}

/// The process that started this one to be its successor, and that drains beside it.
///
/// A service manager that stops the service kills what is left when the main process ends. So the main process ends last.
#[derive(Debug)]
pub(super) struct Starter(OwnedFd);

impl Starter {
    /// `None` = this process was started by something else, or that process has ended.
    pub(super) fn find() -> Option<Self> {
        let id = std::env::var(STARTED_BY).ok()?.parse().ok()?;
        pidfd_open(Pid::from_raw(id)?, PidfdFlags::empty()).ok().map(Self)
    }

    /// Waits for its end, but no longer than `patience`.
    pub(super) async fn gone(self, patience: Duration) {
        if self.has_ended(Duration::ZERO) {
            return;
        }
        tracing::info!("the process before still drains, and this one ends after it");
        if !spawn_blocking(move || self.has_ended(patience)).await.unwrap_or_default() {
            tracing::warn!(?patience, "the process before has not ended in time");
        }
    }

    /// Whether it ends within `patience`. Blocks for so long.
    fn has_ended(&self, patience: Duration) -> bool {
        let mut wanted = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        Timespec::try_from(patience)
            .is_ok_and(|patience| poll(&mut wanted, Some(&patience)).is_ok_and(|ready| ready > 0))
    }
}

/// The command line of this process.
fn again() -> io::Result<Command> {
    let mut words = std::env::args_os();
    // As it was called: the path of this process's own file would name the old program, which may be removed.
    let mut command = Command::new(words.next().ok_or(io::ErrorKind::NotFound)?);
    command.args(words);
    PASSED.iter().for_each(|name| {
        command.env_remove(name);
    });
    Ok(command)
}
