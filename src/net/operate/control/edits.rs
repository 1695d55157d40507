//! When the files of the configuration are read again: once they hold something else, and rest.

use std::path::{Path, PathBuf};

use crate::config::FileContents;

/// What has been seen of the files.
#[derive(Debug)]
pub(super) struct Edits {
    /// What the files held when they were last read for a reload, or for the start.
    tried: FileContents,
    /// What they held at the look before, if that was something else.
    before: Option<FileContents>,
}

/// What follows from a look at the files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterLook {
    /// Nothing is new: look again when something changes.
    Wait,
    /// Somebody may still write: look again when the files have rested.
    LookAgain,
    /// Read the files. These have changed.
    Reload(Vec<PathBuf>),
}

impl Edits {
    /// `tried`: what the files held before they were read for the configuration that runs.
    pub(super) const fn new(tried: FileContents) -> Self {
        Self { tried, before: None }
    }

    /// A look at the files: what they hold. A reload of the same contents is asked for once, whatever comes of it.
    pub(super) fn see(&mut self, found: FileContents) -> AfterLook {
        let before = self.before.take();
        if found == self.tried {
            return AfterLook::Wait;
        }
        if before.as_ref() != Some(&found) {
            self.before = Some(found);
            return AfterLook::LookAgain;
        }
        let changed = found.changed_since(&self.tried).into_iter().map(Path::to_owned).collect();
        self.tried = found;
        AfterLook::Reload(changed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fs_err as fs;

    use super::*;

    /// A file, and what is seen of it.
    struct Seen {
        folder: tempfile::TempDir,
        edits: Edits,
    }

    impl Seen {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("proxy.yaml"), text).unwrap();
            let edits = Edits::new(FileContents::read(vec![folder.path().join("proxy.yaml")]));
            Self { folder, edits }
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("proxy.yaml")
        }

        fn write(&mut self, text: &str) -> AfterLook {
            fs::write(self.file(), text).unwrap();
            self.look()
        }

        fn look(&mut self) -> AfterLook {
            self.edits.see(FileContents::read(vec![self.file()]))
        }

        fn reload(&self) -> AfterLook {
            AfterLook::Reload(vec![self.file()])
        }
    }

    #[test]
    fn a_file_is_read_only_when_two_looks_have_seen_the_same() {
        let mut seen = Seen::new("one");
        assert_eq!(seen.look(), AfterLook::Wait);
        for half in ["t", "tw", "two"] {
            assert_eq!(seen.write(half), AfterLook::LookAgain, "{half}");
        }
        assert_eq!(seen.look(), seen.reload());
        assert_eq!(seen.look(), AfterLook::Wait);
    }

    #[test]
    fn each_content_is_tried_once_and_one_that_comes_back_is_tried_again() {
        let mut seen = Seen::new("good");
        for text in ["bad", "good", "bad"] {
            assert_eq!(seen.write(text), AfterLook::LookAgain, "{text}");
            assert_eq!(seen.look(), seen.reload(), "{text}");
            assert_eq!(seen.write(text), AfterLook::Wait, "{text}");
        }
    }

    #[test]
    fn what_was_put_back_before_anybody_read_it_is_no_change() {
        let mut seen = Seen::new("good");
        assert_eq!(seen.write("bad"), AfterLook::LookAgain);
        assert_eq!(seen.write("good"), AfterLook::Wait);
        // The look in between does not count for the next change.
        assert_eq!(seen.write("bad"), AfterLook::LookAgain);
        assert_eq!(seen.look(), seen.reload());
    }

    #[test]
    fn a_file_that_is_removed_is_tried_once_too() {
        let mut seen = Seen::new("good");
        fs::remove_file(seen.file()).unwrap();
        assert_eq!(seen.look(), AfterLook::LookAgain);
        assert_eq!(seen.look(), seen.reload());
        assert_eq!(seen.look(), AfterLook::Wait);
    }
}
