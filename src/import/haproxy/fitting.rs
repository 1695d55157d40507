//! What the case of a condition asks, in the words of routes.

use super::conditions::{Ask, Case};

/// What a case asks, in the words of routes.
#[derive(Debug, Default)]
pub(super) struct Fitting {
    /// Empty = any host.
    pub(super) hosts: Vec<String>,
    /// Empty = any path.
    pub(super) paths: Vec<String>,
    pub(super) is_whole: bool,
    pub(super) is_upgrade: bool,
    /// Whether it asks for TLS, or for its absence.
    pub(super) is_secure: Option<bool>,
    /// Paths of which the case says nothing.
    pub(super) spared: Vec<String>,
    /// Hosts of which the case says nothing.
    pub(super) spared_hosts: Vec<String>,
}

impl Fitting {
    /// `None` = the case asks what longwire cannot ask.
    pub(super) fn of(case: &Case) -> Option<Self> {
        let mut fitting = Self::default();
        for term in case {
            match (&term.ask, term.is_opposite) {
                (Ask::Hosts(hosts), false) if fitting.hosts.is_empty() => fitting.hosts.clone_from(hosts),
                (Ask::Hosts(hosts), true) => fitting.spared_hosts.extend(hosts.iter().cloned()),
                (Ask::Paths(paths), false) if fitting.paths.is_empty() => fitting.paths.clone_from(paths),
                (Ask::WholePaths(paths), false) if fitting.paths.is_empty() => {
                    fitting.paths.clone_from(paths);
                    fitting.is_whole = true;
                }
                (Ask::Paths(paths) | Ask::WholePaths(paths), true) => fitting.spared.extend(paths.iter().cloned()),
                (Ask::Upgrade, false) => fitting.is_upgrade = true,
                (Ask::Upgrade, true) => {}
                (Ask::Secure, is_opposite) => fitting.is_secure = Some(!is_opposite),
                (Ask::Hosts(_) | Ask::Paths(_) | Ask::WholePaths(_) | Ask::Sources(_) | Ask::Foreign(_), _) => {
                    return None;
                }
            }
        }
        Some(fitting)
    }

    pub(super) fn hosts(&self) -> Vec<Option<String>> {
        if self.hosts.is_empty() { vec![None] } else { self.hosts.iter().cloned().map(Some).collect() }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        if self.paths.is_empty() { vec!["/".to_owned()] } else { self.paths.clone() }
    }
}

/// Whether every host of `inner` is one of `outer`.
pub(super) fn covers(outer: Option<&str>, inner: Option<&str>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => {
            outer == inner || outer.strip_prefix('*').is_some_and(|end| inner.trim_start_matches('*').ends_with(end))
        }
    }
}
