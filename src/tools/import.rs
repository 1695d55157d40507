//! `longwire import`: reads a configuration of nginx or HAProxy with the files that it includes, for the room
//! `import`.

mod glob;

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use self::glob::{fits, is_pattern};
use crate::import::{self, Dialect, ImportError, ImportTerms, Imported, IncludedFile};

/// The most bytes of one file.
const MOST_BYTES: u64 = 16 << 20;

/// Why nothing was imported.
#[derive(Debug)]
pub enum ImportFailure {
    /// The file that was given cannot be read.
    Read(PathBuf, io::Error),
    /// The configuration cannot be read as one.
    Original(ImportError),
}

/// Reads and translates a configuration. `output`: where the new file will be, if not in the current folder.
///
/// # Errors
/// A file cannot be read, or is no configuration.
pub fn translate(file: &Path, dialect: Option<Dialect>, output: Option<&Path>) -> Result<Imported, ImportFailure> {
    let name = file.display().to_string();
    let first = read(file, name).map_err(|error| ImportFailure::Read(file.to_owned(), error))?;
    let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let written = paths_of_new_file(&folder, output);
    let terms = ImportTerms { dialect, folder: &written };
    import::import(first, terms, &mut |pattern| included(&folder, pattern)).map_err(ImportFailure::Original)
}

/// Writes the new file, unless there is a file of its name.
///
/// # Errors
/// The file is there already, or cannot be written.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// What relative paths of the original are relative to, seen from the folder of the new file.
fn paths_of_new_file(folder: &Path, output: Option<&Path>) -> String {
    let is_elsewhere = output.and_then(Path::parent).is_some_and(|parent| !parent.as_os_str().is_empty());
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let seen = if is_elsewhere { std::path::absolute(here).ok() } else { None };
    seen.unwrap_or_else(|| folder.to_owned()).display().to_string()
}

/// The files that an `include` means. nginx begins relative paths at the folder of `nginx.conf`, which may stand above the
/// folder of the file that was given.
fn included(folder: &Path, pattern: &str) -> Result<Vec<IncludedFile>, String> {
    let path = Path::new(pattern);
    let bases = [Some(folder), folder.parent()];
    let mut tried = None;
    for base in bases.into_iter().flatten() {
        let whole = base.join(path);
        if is_pattern(pattern) {
            let found = matching(&whole)?;
            if !found.is_empty() {
                return found.into_iter().map(|found| named(&found, base)).collect();
            }
        } else if whole.exists() {
            return named(&whole, base).map(|file| vec![file]);
        }
        if path.is_absolute() {
            break;
        }
        tried.get_or_insert(whole);
    }
    match is_pattern(pattern) {
        true => Ok(Vec::new()),
        false => {
            Err(format!("cannot read {}: there is no such file", tried.unwrap_or_else(|| path.to_owned()).display()))
        }
    }
}

/// A file under the name as it was included: without the folder where the search began.
fn named(path: &Path, base: &Path) -> Result<IncludedFile, String> {
    let name = path.strip_prefix(base).unwrap_or(path).display().to_string();
    read(path, name).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn read(path: &Path, name: String) -> io::Result<IncludedFile> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
    }
    let identity = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    Ok(IncludedFile { name, identity, text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// The files that a pattern fits, sorted. As in the shell, `*` does not fit a name that begins with a dot.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let word = part.as_os_str().to_string_lossy();
        if !is_pattern(&word) {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries {
                let name = entry.map_err(|error| format!("cannot read {}: {error}", folder.display()))?.file_name();
                if fits(&word, &name.to_string_lossy()) {
                    next.push(folder.join(name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

impl fmt::Display for ImportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "longwire: cannot read {}: {error}", path.display()),
            Self::Original(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportFailure {}
