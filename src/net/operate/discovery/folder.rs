//! Watches the folders of a file, and of the links that lead to it (inotify).

use std::{
    collections::BTreeSet,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

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

/// The most links on the way to a file, as in the kernel.
const MOST_LINKS: usize = 40;

/// A descriptor that is readable once something has changed in a folder on the way to a file: that of the file, and that of
/// each link that leads there. It serves for one change. Blocks.
///
/// # Errors
/// None of the folders can be watched: there is none, or the user has as many watches as the system allows.
pub(super) fn watch(file: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let watched = folders(file).into_iter().map(|folder| inotify::add_watch(&watch, &folder, CHANGES));
    let (watched, failed): (Vec<_>, Vec<_>) = watched.partition(Result::is_ok);
    match (watched.is_empty(), failed.into_iter().find_map(Result::err)) {
        (true, Some(error)) => Err(error.into()),
        _ => Ok(watch),
    }
}

/// The folders of a file and of the links that lead to it, whether the file is there or not.
#[expect(clippy::disallowed_methods, reason = "no worker watches files")]
fn folders(file: &Path) -> BTreeSet<PathBuf> {
    let steps = |path: &Path| -> Vec<PathBuf> { path.iter().rev().map(PathBuf::from).collect() };
    let (mut folders, mut at, mut ahead, mut links) = (BTreeSet::new(), PathBuf::from("."), steps(file), 0);
    while let Some(step) = ahead.pop() {
        if step.is_absolute() || step == Path::new("..") {
            // The kernel follows `..` from where a link has led, and so does this path.
            at.push(step);
            continue;
        }
        let target = std::fs::read_link(at.join(&step)).ok().filter(|_| links < MOST_LINKS);
        if target.is_some() || ahead.is_empty() {
            folders.insert(at.clone());
        }
        match target {
            Some(target) => {
                links += 1;
                ahead.extend(steps(&target));
            }
            None => at.push(step),
        }
    }
    folders
}
