//! Watches the folders on the way to files (inotify).

use std::{
    future::pending,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// What moves a folder away.
const MOVES: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// What changes a file, or which file stands behind a name. A write counts when its writer closes the file: a log that grows
/// in the same folder is none of these.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(MOVES);

/// The most links on the way to a file, as for the kernel (`ELOOP`).
const MOST_LINKS: usize = 40;

/// The most walks to the files. A link that changes before its folder is watched leads the next walk elsewhere.
const MOST_WALKS: usize = 3;

/// The folders on the way to files, with what is to be seen there.
type WatchedFolders = Vec<(PathBuf, WatchFlags)>;

/// A descriptor that is readable once something has changed on the way to one of these files: in its folder, in the folder of a
/// link, or in the place of a folder. It serves for one change. Beside it: why a change there may stay unseen. Blocks.
///
/// # Errors
/// The user has as many watches as the system allows.
pub(super) fn watch<'f>(files: impl Iterator<Item = &'f Path> + Clone) -> io::Result<(OwnedFd, Option<io::Error>)> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let mut failure = None;
    let mut watched = WatchedFolders::new();
    for _ in 0..MOST_WALKS {
        let way: WatchedFolders = files.clone().flat_map(walk).collect();
        if way == watched {
            break;
        }
        failure = None;
        for (folder, seen) in &way {
            let added = inotify::add_watch(&watch, folder, *seen | WatchFlags::MASK_ADD);
            // A folder above may be one that we may only pass through.
            if let Err(error) = added
                && *seen == CHANGES
            {
                failure = Some(error.into());
            }
        }
        watched = way;
    }
    Ok((watch, failure))
}

/// Ready when something has changed in a folder. `None` = nothing is seen, so never.
pub(super) async fn change(watch: Option<AsyncFd<OwnedFd>>) {
    let Some(watch) = watch else { return pending().await };
    // An error: nothing more comes of this watch. The next one is made soon.
    let _ = watch.readable().await;
}

/// Goes to a file by all links. The way ends early where something is missing.
#[expect(clippy::disallowed_methods, reason = "no worker watches files")]
fn walk(file: &Path) -> WatchedFolders {
    let (mut way, mut links) = (WatchedFolders::new(), 0);
    let (mut at, mut rest) = (PathBuf::from("."), file.to_owned());
    loop {
        let mut parts = rest.components();
        let Some(part) = parts.next() else { break };
        let after = parts.as_path().to_owned();
        let next = at.join(part);
        match part {
            Component::Normal(_) => match std::fs::read_link(&next) {
                Ok(target) => {
                    way.push((at.clone(), CHANGES));
                    links += 1;
                    if links > MOST_LINKS {
                        break;
                    }
                    rest = target.join(after);
                    continue;
                }
                // It is there, and no link.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && !after.as_os_str().is_empty() => {
                    way.push((next.clone(), MOVES));
                }
                Err(_) => {
                    way.push((at, CHANGES));
                    break;
                }
            },
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {}
        }
        (at, rest) = (next, after);
    }
    way
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fs_err::{self as fs, os::unix::fs::symlink};
    use rustix::io::{Errno, read};

    use super::{watch as watch_all, *};

    fn watch(file: &Path) -> io::Result<(OwnedFd, Option<io::Error>)> {
        watch_all([file].into_iter())
    }

    /// Whether a watch has seen a change.
    fn has_changed(watch: &OwnedFd) -> bool {
        match read(watch, &mut [0; 4096]) {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Puts a link in the place of another one.
    fn swap(target: impl AsRef<Path>, link: &Path) {
        symlink(target.as_ref(), link.with_extension("new")).unwrap();
        fs::rename(link.with_extension("new"), link).unwrap();
    }

    #[test]
    fn a_change_anywhere_on_the_way_to_a_file_is_seen_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["app/releases/7", "app/releases/8", "lists", "other"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        // app/backends.yaml, by a link to lists/all.yaml, a link that leads on by the link app/current.
        symlink(at("lists/all.yaml"), at("app/backends.yaml")).unwrap();
        symlink("../app/current/list.yaml", at("lists/all.yaml")).unwrap();
        symlink("releases/7", at("app/current")).unwrap();
        fs::write(at("app/releases/7/list.yaml"), "[]").unwrap();
        let seen = |change: &dyn Fn()| {
            let (watch, failure) = watch(&at("app/backends.yaml")).unwrap();
            assert!(failure.is_none() && !has_changed(&watch), "{failure:?}");
            change();
            has_changed(&watch)
        };
        assert!(!seen(&|| fs::write(at("other/file"), "").unwrap()));
        assert!(!seen(&|| fs::write(at("app/releases/8/list.yaml"), "[]").unwrap()));
        assert!(seen(&|| fs::write(at("app/releases/7/list.yaml"), "[]").unwrap()), "the file");
        assert!(seen(&|| swap("releases/8", &at("app/current"))), "a link in the place of a folder");
        assert!(seen(&|| swap(at("app/releases/7/list.yaml"), &at("lists/all.yaml"))), "a link between links");
        assert!(seen(&|| swap(at("lists/all.yaml"), &at("app/backends.yaml"))), "the first link");
        assert!(seen(&|| fs::rename(at("app"), at("gone")).unwrap()), "a folder above");
        assert!(seen(&|| fs::create_dir(at("app")).unwrap()), "a folder that was missing");
    }

    #[test]
    fn a_folder_that_moves_away_above_a_file_without_links_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("app/lists")).unwrap();
        fs::write(folder.path().join("app/lists/all.yaml"), "[]").unwrap();
        let (watch, _) = watch(&folder.path().join("app/lists/all.yaml")).unwrap();
        fs::rename(folder.path().join("app"), folder.path().join("gone")).unwrap();
        assert!(has_changed(&watch));
    }

    #[test]
    fn a_change_on_the_way_to_any_of_several_files_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["one/a.yaml", "one/b.crt", "two/c.crt"].map(|name| folder.path().join(name));
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        for file in &files {
            let (watch, failure) = watch_all(files.iter().map(PathBuf::as_path)).unwrap();
            assert!(failure.is_none() && !has_changed(&watch), "{failure:?}");
            fs::write(file, "new").unwrap();
            assert!(has_changed(&watch), "{}", file.display());
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_watched_too() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("backends.yaml");
        symlink("backends.yaml", &link).unwrap();
        let (watch, failure) = watch(&link).unwrap();
        assert!(failure.is_none(), "{failure:?}");
        swap("elsewhere", &link);
        assert!(has_changed(&watch));
    }

    #[test]
    fn a_relative_path_begins_in_the_folder_of_the_process() {
        let way = walk(Path::new("src/lib.rs"));
        assert_eq!(way, [("./src".into(), MOVES), ("./src".into(), CHANGES)]);
    }
}
