//! The entries of `backends`: servers, and places where servers are found.

use std::{collections::HashSet, path::Path};

use super::{Resolver, upstreams::NOTHING};
use crate::{
    balance::BackendSettings,
    config::{document::At, file},
    discovery::{BackendEntry, FindingPlace, identity},
};

impl Resolver {
    /// The entries of one upstream in the order of the file, each with its index there. An entry that was refused is left out.
    pub(super) fn backend_entries(
        &mut self,
        backends: Vec<file::Backend>,
        upstream: &str,
        base: &Path,
        all: &At,
    ) -> Vec<(usize, BackendEntry)> {
        if backends.is_empty() {
            let help = "name at least one: backends: [{ address: \"127.0.0.1:3000\" }]";
            self.error(all.clone(), format!("upstream `{upstream}` has no backend"), help);
        }
        let count = backends.len();
        let entries: Vec<_> = backends
            .into_iter()
            .enumerate()
            .filter_map(|(index, backend)| {
                self.backend_entry(backend, base, &all.index(index)).map(|entry| (index, entry))
            })
            .collect();
        let is_down = |entry: &BackendEntry| entry.named().is_some_and(|backend| backend.down);
        if count > 0 && entries.len() == count && entries.iter().all(|(_, entry)| is_down(entry)) {
            let message = format!("every backend of `{upstream}` is down");
            self.warn(all.clone(), message, "every request to it is answered 503");
        }
        let mut seen = HashSet::new();
        for (index, entry) in &entries {
            let (key, is_new, message, help) = match entry {
                BackendEntry::Named(BackendSettings { address, .. }) => (
                    "address",
                    seen.insert(identity(address)),
                    format!("backend `{address}` is named twice in `{upstream}`"),
                    "give the first one more `weight` instead",
                ),
                BackendEntry::Found(place @ FindingPlace::File(path)) => (
                    "file",
                    seen.insert(place.to_string()),
                    format!("the list `{}` is named twice in `{upstream}`", path.display()),
                    "once is enough",
                ),
            };
            if !is_new {
                self.error(all.index(*index).key(key), message, help);
            }
        }
        entries
    }

    /// `None` = a problem was noted.
    fn backend_entry(&mut self, backend: file::Backend, base: &Path, at: &At) -> Option<BackendEntry> {
        let file::Backend { address, file, weight, max_conns, backup, down } = backend;
        match (address, file) {
            (Some(address), None) => {
                let address = address.0;
                Some(BackendEntry::Named(BackendSettings { address, weight, max_conns, backup, down, found: None }))
            }
            (None, Some(file)) => {
                for (key, is_idle) in
                    [("weight", weight != 1), ("max_conns", max_conns != 0), ("backup", backup), ("down", down)]
                {
                    if is_idle {
                        self.warn(
                            at.key(key),
                            format!("`{key}` beside `file`"),
                            format!("{NOTHING}: write it in the list"),
                        );
                    }
                }
                Some(BackendEntry::Found(FindingPlace::File(base.join(file))))
            }
            (None, None) => {
                self.error(at.clone(), "missing key `address`", "or name a list of backends: `file`");
                None
            }
            (Some(_), Some(_)) => {
                let help = "an entry names one server or one list: make two entries of it";
                self.error(at.key("file"), "`file` beside `address`", help);
                None
            }
        }
    }
}
