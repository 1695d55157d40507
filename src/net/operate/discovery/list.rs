//! A file that lists backends: read again whenever it changes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    balance::BackendSettings,
    config,
    discovery::{FindingPlace, Findings, News},
    net::{operate::folder, stream::sockets},
};

/// A file is read again after this time even if nothing says that it has changed: a file system may not tell, and a writer
/// may keep the file open.
const AGAIN: Duration = Duration::from_secs(10);

/// From the first sign of a change to the reading, because a change mostly comes in several steps.
const SETTLES: Duration = Duration::from_millis(200);

/// Reads a list again and again, until this is dropped.
pub(super) async fn follow(path: PathBuf, findings: Arc<Findings>, news: Arc<Notify>) {
    let mut is_watchable = true;
    loop {
        let (read, known, heard) = (path.clone(), Arc::clone(&findings), Arc::clone(&news));
        // Watched before it is read: no change comes in between unseen.
        let mut look = spawn_blocking(move || {
            let watch = folder::watch([read.as_path()].into_iter());
            // Told here, because nobody may wait for this any more.
            if self::read(&read, &known) {
                heard.notify_one();
            }
            watch
        });
        let looked = match timeout(AGAIN, &mut look).await {
            Ok(looked) => looked,
            Err(_) => {
                let failure = format!("the file could not be read within {} s", AGAIN.as_secs());
                note(&path, &findings, Err((failure.clone(), failure)));
                look.await
            }
        };
        let watch = match looked {
            Ok(watch) => watch,
            // The process ends.
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "reading a list of backends panicked: this is a bug of longwire");
                Err(io::Error::other(error))
            }
        };
        let watch = watch.and_then(|(watch, failure)| Ok((sockets::watch(watch)?, failure)));
        let (watch, failure) = match watch {
            Ok((watch, failure)) => (Some(watch), failure),
            Err(error) => (None, Some(error)),
        };
        if let Some(error) = &failure
            && is_watchable
        {
            tracing::warn!(file = %path.display(), %error, "a folder of a list of backends cannot be watched: it is read every {} s", AGAIN.as_secs());
        }
        is_watchable = failure.is_none();
        // The time is up, or something has changed: the file is read either way.
        let changes = async {
            folder::change(watch).await;
            #[expect(clippy::disallowed_methods, reason = "nothing says when the last step of a change is done")]
            sleep(SETTLES).await;
        };
        let _ = timeout(AGAIN, changes).await;
    }
}

/// Reads a list once, and notes what it says. Returns whether other backends were found. Blocks.
pub(super) fn read(path: &Path, findings: &Findings) -> bool {
    let read = config::read_backends(path);
    note(path, findings, read.map_err(|problems| (problems.in_one_line(), problems.to_string())))
}

/// Notes what a list says, or why it cannot be used, in one line and in full. Returns whether other backends were found.
fn note(path: &Path, findings: &Findings, looked: Result<Vec<BackendSettings>, (String, String)>) -> bool {
    let (count, place) = (looked.as_ref().map_or(0, Vec::len), FindingPlace::File(path.to_owned()));
    let failure = looked.as_ref().err().map(|(_, failure)| failure.clone()).unwrap_or_default();
    let news = findings.note(&place, looked.map_err(|(line, _)| line), Instant::now());
    let file = path.display();
    match &news {
        News::Nothing => {}
        News::Changed => tracing::info!(%file, backends = count, "a list of backends is read"),
        News::Mended => tracing::info!(%file, backends = count, "a list of backends can be read again"),
        News::Failed => {
            let failure = failure.trim_end();
            tracing::error!(%file, "a list of backends cannot be used, and its backends stay as they were: {failure}");
        }
    }
    news == News::Changed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::TempDir;
    use tokio::task::JoinHandle;

    use super::*;

    /// A folder, and a task that follows `backends.yaml` in it.
    struct Followed {
        folder: TempDir,
        place: FindingPlace,
        findings: Arc<Findings>,
        news: Arc<Notify>,
        task: JoinHandle<()>,
    }

    impl Followed {
        fn new(prepare: impl FnOnce(&Path)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let path = folder.path().join("backends.yaml");
            let (findings, news): (Arc<Findings>, Arc<Notify>) = Default::default();
            let place = FindingPlace::File(path.clone());
            findings.remember(&place, |_| false, Instant::now());
            let task = tokio::spawn(follow(path, Arc::clone(&findings), Arc::clone(&news)));
            Self { folder, place, findings, news, task }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Waits until this is what is known.
        async fn finds(&self, expected: &[&str]) {
            let found = async {
                while self.addresses() != expected {
                    self.news.notified().await;
                }
            };
            let patience = AGAIN - Duration::from_secs(2);
            assert!(timeout(patience, found).await.is_ok(), "{:?}, not {expected:?}", self.addresses());
        }

        fn addresses(&self) -> Vec<String> {
            let found = self.findings.of(&self.place).and_then(|finding| finding.backends).unwrap_or_default();
            found.into_iter().map(|backend| backend.address).collect()
        }
    }

    impl Drop for Followed {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    #[tokio::test]
    async fn a_file_that_is_written_renamed_or_comes_late_is_read_again() {
        let followed = Followed::new(|_| {});
        let path = followed.path("backends.yaml");
        fs_err::write(&path, "- address: a:1\n").unwrap();
        followed.finds(&["a:1"]).await;
        fs_err::write(&path, "- address: b:1\n").unwrap();
        followed.finds(&["b:1"]).await;
        fs_err::write(followed.path("next"), "[{\"address\": \"c:1\"}, {\"address\": \"d:1\"}]").unwrap();
        fs_err::rename(followed.path("next"), &path).unwrap();
        followed.finds(&["c:1", "d:1"]).await;
        fs_err::write(&path, "[]").unwrap();
        followed.finds(&[]).await;
    }

    /// A ConfigMap of Kubernetes: the file is a link through `..data`, which is replaced.
    #[tokio::test]
    async fn a_link_that_is_swapped_leads_to_another_list() {
        let followed = Followed::new(|folder| {
            fs_err::create_dir(folder.join("..one")).unwrap();
            fs_err::write(folder.join("..one/backends.yaml"), "- address: a:1\n").unwrap();
            fs_err::os::unix::fs::symlink("..one", folder.join("..data")).unwrap();
            fs_err::os::unix::fs::symlink("..data/backends.yaml", folder.join("backends.yaml")).unwrap();
        });
        followed.finds(&["a:1"]).await;
        fs_err::create_dir(followed.path("..two")).unwrap();
        fs_err::write(followed.path("..two/backends.yaml"), "- address: b:1\n").unwrap();
        fs_err::os::unix::fs::symlink("..two", followed.path("..data_tmp")).unwrap();
        fs_err::rename(followed.path("..data_tmp"), followed.path("..data")).unwrap();
        followed.finds(&["b:1"]).await;
    }

    /// The folder is a link, as where each release has a folder of its own.
    #[tokio::test]
    async fn a_folder_that_is_a_link_is_followed() {
        let releases = tempfile::tempdir().unwrap();
        for (name, address) in [("one", "a:1"), ("two", "b:1")] {
            fs_err::create_dir(releases.path().join(name)).unwrap();
            fs_err::write(releases.path().join(name).join("list.yaml"), format!("- address: {address}\n")).unwrap();
        }
        let current = releases.path().join("current");
        fs_err::os::unix::fs::symlink("one", &current).unwrap();
        let list = current.join("list.yaml");
        let followed =
            Followed::new(|folder| fs_err::os::unix::fs::symlink(&list, folder.join("backends.yaml")).unwrap());
        followed.finds(&["a:1"]).await;
        fs_err::os::unix::fs::symlink("two", releases.path().join("next")).unwrap();
        fs_err::rename(releases.path().join("next"), &current).unwrap();
        followed.finds(&["b:1"]).await;
    }

    /// The file is a link into a folder of somebody else.
    #[tokio::test]
    async fn a_change_where_a_link_leads_is_seen() {
        let elsewhere = tempfile::tempdir().unwrap();
        let list = elsewhere.path().join("list.yaml");
        fs_err::write(&list, "- address: a:1\n").unwrap();
        let followed =
            Followed::new(|folder| fs_err::os::unix::fs::symlink(&list, folder.join("backends.yaml")).unwrap());
        followed.finds(&["a:1"]).await;
        fs_err::write(&list, "- address: b:1\n").unwrap();
        followed.finds(&["b:1"]).await;
    }
}
