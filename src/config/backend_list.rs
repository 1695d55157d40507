//! Files that list backends (`upstreams.NAME.backends[].file`), checked like `proxy.yaml`.

use std::{collections::HashSet, io, path::Path, sync::Arc};

use super::{
    check,
    diagnostics::{Diagnostic, Diagnostics},
    document::{self, At},
    environment::{Env, of_process},
    file::ListedBackend,
    text,
};
use crate::{
    balance::{BackendSettings, FoundAt, FoundBy},
    discovery::identity,
};

/// The most backends of a list.
const MOST_LISTED: usize = 4096;

/// Reads a list of backends. `[]` is a list without backends; a file without a list is wrong.
///
/// # Errors
/// The file cannot be read, or has errors. The error lists every problem in the file.
pub(crate) fn read(path: &Path) -> Result<Vec<BackendSettings>, Diagnostics> {
    let name = path.display().to_string();
    match read_file(path) {
        Ok(text) => parse(&text, &name, &of_process),
        Err(error) => {
            let diagnostic = Diagnostic::of_file(format!("cannot read the file: {error}"));
            Err(Diagnostics::new(&name, "", vec![diagnostic]))
        }
    }
}

/// A pipe may never end, and whoever opens one may wait for ever.
#[expect(clippy::disallowed_methods, reason = "no worker reads the file")]
fn read_file(path: &Path) -> io::Result<String> {
    match std::fs::metadata(path)?.is_file() {
        true => text::read(path),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads `text` as the list `name`.
fn parse(text: &str, name: &str, env: Env<'_>) -> Result<Vec<BackendSettings>, Diagnostics> {
    let (root, mut found) = document::read(text, env);
    let Some(root) = root else { return Err(Diagnostics::new(name, text, found)) };
    let checked = check::check(&root, &ListedBackend::schema());
    found.extend(checked.found);
    let listed = serde_yaml::from_value::<Vec<ListedBackend>>(checked.value);
    let listed = listed.map_err(|error| found.push(Diagnostic::of_file(error.to_string()))).unwrap_or_default();
    if listed.len() > MOST_LISTED {
        found.push(Diagnostic::of_file(format!("the list has {} backends, more than {MOST_LISTED}", listed.len())));
    }
    let (mut backends, mut seen) = (Vec::with_capacity(listed.len()), HashSet::new());
    let by = FoundAt { by: FoundBy::File, from: Arc::from(name), name: None };
    for (index, listed) in listed.into_iter().enumerate() {
        let ListedBackend { address, weight, max_conns, backup, down } = listed;
        let address = address.0;
        let at = At::default().index(index).key("address");
        let is_believed = !checked.replaced.iter().any(|replaced| replaced.touches(&at));
        if !seen.insert(identity(&address)) && is_believed {
            let diagnostic = Diagnostic::error(root.locate(&at), format!("backend `{address}` is named twice"));
            found.push(diagnostic.help("give the first one more `weight` instead"));
        }
        backends.push(BackendSettings { address, weight, max_conns, backup, down, tier: 0, found: Some(by.clone()) });
    }
    match found.is_empty() {
        true => Ok(backends),
        false => Err(Diagnostics::new(name, text, found)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The addresses and weights of a list, or its problems, one a line.
    fn read(text: &str) -> Result<Vec<(String, u32)>, String> {
        match parse(text, "backends.yaml", &|_| None) {
            Ok(backends) => Ok(backends.into_iter().map(|backend| (backend.address, backend.weight)).collect()),
            Err(problems) => Err(problems.lines().collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let expected = Ok(vec![("10.0.0.1:80".to_owned(), 3), ("chat:81".to_owned(), 1)]);
        assert_eq!(read("# ours\n- address: 10.0.0.1:80\n  weight: 3\n- { address: chat:81 }\n"), expected);
        assert_eq!(read(r#"[{"address": "10.0.0.1:80", "weight": 3}, {"address": "chat:81"}]"#), expected);
    }

    #[test]
    fn an_empty_list_is_a_list_and_a_file_without_a_list_is_none() {
        assert_eq!(read("[]"), Ok(vec![]));
        assert_eq!(read("[ ]\n"), Ok(vec![]));
        for nothing in ["", "null\n", "~", "# [ ]\n", "---\n"] {
            let problem = read(nothing).unwrap_err();
            assert!(problem.contains("the file is empty"), "{nothing:?}: {problem}");
        }
        assert!(read("{}").is_err() && read("address: a:80").is_err() && read("a:80").is_err());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, place, what) in [
            ("- address: a:80\n- adress: b:80\n", "2:3:", "did you mean `address`"),
            ("- address: a:80\n- address: A:80\n", "2:12:", "named twice"),
            ("- address: a\n", "1:12:", "not a backend's host:port"),
            ("- { address: \"a:80\", weight: 0 }\n", "1:30:", "out of range"),
            ("- file: other.yaml\n", "1:3:", "unknown key `file`"),
            ("- weight: 1\n", "1:3:", "missing key `address`"),
            ("- a:80\n", "1:3:", "write `- address: a:80`"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems.lines().any(|line| line.starts_with(place) && line.contains(what)), "{text}{problems}");
        }
        assert!(read("- address: [\n").is_err());
    }

    #[test]
    fn a_list_has_a_most() {
        let list = |count: usize| (1..=count).map(|port| format!("- address: a:{port}\n")).collect::<String>();
        assert_eq!(read(&list(MOST_LISTED)).map(|backends| backends.len()), Ok(MOST_LISTED));
        let problem = read(&list(MOST_LISTED + 1)).unwrap_err();
        assert!(problem.contains("the list has 4097 backends, more than 4096"), "{problem}");
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        for path in [&*pipe, folder.path(), Path::new("/dev/zero")] {
            let problem = super::read(path).unwrap_err().render(false);
            assert!(problem.contains("it is not a regular file"), "{problem}");
        }
    }

    #[test]
    fn a_missing_file_is_told_with_its_name() {
        let problem = super::read(Path::new("/nowhere/backends.yaml")).unwrap_err().render(false);
        assert!(problem.contains("/nowhere/backends.yaml") && problem.contains("cannot read the file"), "{problem}");
    }
}
