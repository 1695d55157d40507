//! `longwire run --watch`: the process reloads by itself when its file, or one that the file names, has changed.

use std::path::{Path, PathBuf};

use fs_err::{self as fs, os::unix::fs::symlink};
use serde_json::Value;

use crate::harness::{Backend, Process, Proxy, Setup};

const RELOADED: &str = "reloaded";
const NOT_RELOADED: &str = "not reloaded: the configuration stays as it was";

/// A folder whose `proxy.yaml` has a route for each version of the file.
struct Files {
    folder: tempfile::TempDir,
    backend: Backend,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), backend: Backend::echo() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn setup(&self, version: &str) -> Setup {
        Proxy::before(&[&self.backend]).routes(&format!("routes: [ {{ path: /{version}/, upstream: chat }} ]"))
    }

    fn text(&self, version: &str) -> String {
        self.setup(version).text()
    }

    /// Writes a version over the file.
    fn write(&self, version: &str) {
        fs::write(self.path("proxy.yaml"), self.text(version)).unwrap();
    }

    async fn watched(&self) -> Process {
        Process::watching(self.folder.path()).await
    }
}

/// Waits until a version of the file runs.
async fn runs(process: &mut Process, version: &str) -> Value {
    process.tells(RELOADED, "changes", &format!("routes_added=*/{version}/")).await
}

/// How many messages with these words there are.
fn count(messages: &[Value], words: &str) -> usize {
    messages.iter().filter(|message| message["message"] == words).count()
}

/// Puts a version into a folder as kubelet does: a folder of its own, and the link `..data`, which is replaced.
fn mount(folder: &Path, version: &str, text: &str) {
    let own = format!("..{version}");
    fs::create_dir(folder.join(&own)).unwrap();
    fs::write(folder.join(&own).join("proxy.yaml"), text).unwrap();
    symlink(&own, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_config_map_that_is_swapped_is_read_again_each_time() {
    let files = Files::new();
    let folder = files.folder.path();
    mount(folder, "first", &files.text("first"));
    symlink("..data/proxy.yaml", folder.join("proxy.yaml")).unwrap();
    let mut process = files.watched().await;
    for (version, before) in [("second", "first"), ("third", "second")] {
        mount(folder, version, &files.text(version));
        fs::remove_dir_all(folder.join(format!("..{before}"))).unwrap();
        assert_eq!(runs(&mut process, version).await["by"], "watch");
    }
    let messages = process.messages().await;
    assert_eq!((count(&messages, RELOADED), count(&messages, NOT_RELOADED)), (2, 0), "{messages:#?}");
}

#[tokio::test]
async fn a_file_that_is_saved_in_its_place_or_by_a_rename_is_read_again() {
    let files = Files::new();
    files.write("first");
    let mut process = files.watched().await;
    files.write("second");
    runs(&mut process, "second").await;
    fs::write(files.path("proxy.yaml~"), files.text("third")).unwrap();
    fs::rename(files.path("proxy.yaml~"), files.path("proxy.yaml")).unwrap();
    runs(&mut process, "third").await;
    process.stop().await;
}

#[tokio::test]
async fn a_bad_file_is_told_once_and_the_next_good_one_runs() {
    let files = Files::new();
    files.write("first");
    let mut process = files.watched().await;
    let bad = files.text("second") + "no_such_key: 1\n";
    fs::write(files.path("proxy.yaml"), &bad).unwrap();
    let told = process.tells(NOT_RELOADED, "error", "no_such_key").await;
    assert_eq!(told["by"], "watch", "{told}");
    // Saved once more, with nothing new in it.
    fs::write(files.path("proxy.yaml"), &bad).unwrap();
    files.write("third");
    runs(&mut process, "third").await;
    let messages = process.messages().await;
    assert_eq!(count(&messages, NOT_RELOADED), 1, "{messages:#?}");
}

#[tokio::test]
async fn a_file_that_is_removed_changes_nothing_until_it_is_back() {
    let files = Files::new();
    files.write("first");
    let mut process = files.watched().await;
    fs::remove_file(files.path("proxy.yaml")).unwrap();
    process.tells(NOT_RELOADED, "error", "cannot read the file").await;
    files.write("second");
    runs(&mut process, "second").await;
    process.stop().await;
}

#[tokio::test]
async fn a_file_that_the_configuration_names_is_watched_even_before_it_is_there() {
    let files = Files::new();
    files.write("first");
    let mut process = files.watched().await;
    let named = files.setup("second").with("sticky_key_file: sticky.key");
    fs::write(files.path("proxy.yaml"), named.text()).unwrap();
    process.tells(NOT_RELOADED, "error", "sticky.key").await;
    fs::write(files.path("sticky.key"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    process.tells("files have changed: the configuration is read again", "changed", "sticky.key").await;
    runs(&mut process, "second").await;
    process.stop().await;
}

#[tokio::test]
async fn a_reload_by_a_signal_goes_on_beside_the_watch() {
    let files = Files::new();
    files.write("first");
    let mut process = files.watched().await;
    process.signal("HUP");
    process.tells(RELOADED, "by", "SIGHUP").await;
    files.write("second");
    runs(&mut process, "second").await;
    process.stop().await;
}
