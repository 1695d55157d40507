//! Reloads by itself when the files of the configuration change: `longwire run --watch`.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    Control,
    edits::{AfterLook, Edits},
    reload::ReloadAsker,
};
use crate::{
    config::{self, FileContents},
    net::{operate::folder, stream::sockets},
};

/// How long the files must hold the same before they are read. Whoever saves a file in its place may still write, and a
/// certificate mostly comes before its key.
const RESTS: Duration = Duration::from_secs(1);

/// The files are looked at after this time even if nothing says that they have changed: a file system may not tell.
const AGAIN: Duration = Duration::from_secs(10);

impl Control {
    /// Reloads from now on whenever the file, or one that it names, holds something else, until the process is about to end.
    /// `tried`: what the files held before they were read for the configuration that runs.
    pub fn follow_own_files(self: &Arc<Self>, file: &Path, tried: FileContents) {
        tracing::info!(file = %file.display(), "watching the file, and those that it names");
        self.background.spawn(follow(Arc::downgrade(self), file.to_owned(), tried));
    }
}

async fn follow(control: Weak<Control>, file: PathBuf, tried: FileContents) {
    let (mut edits, mut is_watchable) = (Edits::new(tried), true);
    loop {
        let looked_at = file.clone();
        let look = spawn_blocking(move || {
            let files = config::own_files(&looked_at);
            // Watched before they are read: no change comes in between unseen.
            let watch = folder::watch(files.iter().map(PathBuf::as_path));
            (watch, FileContents::read(files))
        });
        let (watch, found) = match look.await {
            Ok(look) => look,
            Err(error) => {
                // Otherwise the process ends.
                if error.is_panic() {
                    tracing::error!(%error, "looking at the configuration's files panicked, and they are watched no more: this is a bug of longwire");
                }
                return;
            }
        };
        match edits.see(found) {
            AfterLook::Wait => {
                let (watch, failure) = match watch.and_then(|(watch, failure)| Ok((sockets::watch(watch)?, failure))) {
                    Ok((watch, failure)) => (Some(watch), failure),
                    Err(error) => (None, Some(error)),
                };
                note_failure(&file, failure.as_ref(), &mut is_watchable);
                // The time is up, or something has changed: the files are looked at either way.
                let _ = timeout(AGAIN, folder::change(watch)).await;
            }
            AfterLook::LookAgain => rest().await,
            AfterLook::Reload(changed) => {
                let Some(control) = control.upgrade() else { return };
                // Of this process nobody expects a new configuration any more.
                if control.is_leaving() {
                    return;
                }
                let changed = changed.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" ");
                tracing::info!(changed, "files have changed: the configuration is read again");
                let answer = control.ask_for_reload(file.clone(), ReloadAsker::Watch);
                drop(control);
                // `None`: a reload waits already, which will read the newest files.
                if let Some(answer) = answer {
                    // The log tells the outcome.
                    let _ = answer.await;
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing says when the last step of a change is done")]
async fn rest() {
    sleep(RESTS).await;
}

/// Says once that changes may stay unseen.
fn note_failure(file: &Path, failure: Option<&io::Error>, is_watchable: &mut bool) {
    if let Some(error) = failure
        && *is_watchable
    {
        let again = AGAIN.as_secs();
        tracing::warn!(file = %file.display(), %error, "a folder of the configuration's files cannot be watched: they are read every {again} s");
    }
    *is_watchable = failure.is_none();
}
