//! The thread that reloads.
//!
//! A reload reads files, and a disk may hang. So neither signals, nor the checks, nor the admin interface wait for one. The
//! thread is there from the start, because a process that is short of threads must still be able to reload.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use tokio::sync::oneshot;

use super::{Control, ReloadAnswer, ReloadAsker, ReloadError, Reloaded};

/// The most reloads that wait while another one goes on. One is enough: it reads the newest files.
const WAITING: usize = 1;

/// The way to the thread that reloads. The thread ends when nobody has the way to it any more.
#[derive(Debug)]
pub(super) struct Reloader(SyncSender<ReloadRequest>);

/// A reload that somebody has asked for.
#[derive(Debug)]
struct ReloadRequest {
    control: Arc<Control>,
    file: PathBuf,
    by: ReloadAsker,
    outcome: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

impl Reloader {
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let (way, asked) = sync_channel(WAITING);
        thread::Builder::new()
            .name("reload".into())
            .spawn(move || asked.into_iter().for_each(ReloadRequest::reload))?;
        Ok(Self(way))
    }

    /// `None` = another reload goes on and one waits already, which will read the newest files.
    pub(super) fn ask(&self, control: Arc<Control>, file: PathBuf, by: ReloadAsker) -> Option<ReloadAnswer> {
        let (outcome, comes) = oneshot::channel();
        self.0.try_send(ReloadRequest { control, file, by, outcome }).ok()?;
        Some(comes)
    }
}

impl ReloadRequest {
    fn reload(self) {
        let Self { control, file, by, outcome } = self;
        // After a panic the next reload is made all the same. It begins with the files, so it needs nothing of this one.
        match catch_unwind(AssertUnwindSafe(|| control.reload_for(by, &file))) {
            // Nobody waits any more if this fails. The log has the outcome.
            Ok(reloaded) => drop(outcome.send(reloaded)),
            Err(_) => tracing::error!(file = %file.display(), "a reload panicked: this is a bug of longwire"),
        }
    }
}
