//! Watches the folders of a file (inotify).

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// What changes a file, or which file stands behind a name. A write counts when its writer closes the file: a log that grows
/// in the same folder is none of these.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// A descriptor that is readable once something has changed in the folder of a file, or in the folder to which its links
/// lead. It serves for one change. Blocks.
///
/// # Errors
/// There is no such folder, or the user has as many watches as the system allows.
#[expect(clippy::disallowed_methods, reason = "no worker watches files")]
pub(super) fn watch(file: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    inotify::add_watch(&watch, folder, CHANGES)?;
    // A file that is not there leads nowhere.
    if let Ok(real) = std::fs::canonicalize(file)
        && let Some(folder) = real.parent()
    {
        inotify::add_watch(&watch, folder, CHANGES)?;
    }
    Ok(watch)
}
