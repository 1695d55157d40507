//! Which directive counts at a place: the innermost level that has it.

use super::blocks::Directive;
use crate::import::origin::joined;

/// The levels around a place, from the outermost in.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    /// What relative paths are relative to; empty = they stay.
    folder: &'a str,
    levels: Vec<&'a [Directive]>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(folder: &'a str, levels: Vec<&'a [Directive]>) -> Self {
        Self { folder, levels }
    }

    /// The scope of a block at this place.
    pub(super) fn within(&self, block: &'a [Directive]) -> Self {
        Self { folder: self.folder, levels: self.levels.iter().copied().chain([block]).collect() }
    }

    /// The directive that counts.
    pub(super) fn one(&self, name: &str) -> Option<&'a Directive> {
        self.levels.iter().rev().find_map(|level| level.iter().rev().find(|directive| directive.name == name))
    }

    /// The first argument of the directive that counts; empty if there is none.
    pub(super) fn word(&self, name: &str) -> &'a str {
        self.one(name).map_or("", |directive| directive.arg(0))
    }

    /// All directives of a name that count. A level that has one hides those of the levels around it.
    pub(super) fn all(&self, name: &str) -> Vec<&'a Directive> {
        self.innermost(name).unwrap_or_default()
    }

    fn innermost(&self, name: &str) -> Option<Vec<&'a Directive>> {
        self.levels.iter().rev().find_map(|level| {
            let found: Vec<_> = level.iter().filter(|directive| directive.name == name).collect();
            (!found.is_empty()).then_some(found)
        })
    }

    /// The directives of one of two names, in their order, of the innermost level that has any.
    pub(super) fn either(&self, names: [&str; 2]) -> Vec<&'a Directive> {
        let of = |level: &&'a [Directive]| {
            let found: Vec<_> = level.iter().filter(|directive| names.contains(&directive.name.as_str())).collect();
            (!found.is_empty()).then_some(found)
        };
        self.levels.iter().rev().find_map(of).unwrap_or_default()
    }

    /// The directives of a name at every level.
    pub(super) fn everywhere(&self, name: &str) -> impl Iterator<Item = &'a Directive> {
        self.levels.iter().flat_map(|level| level.iter()).filter(move |directive| directive.name == name)
    }

    /// Directives of a name that a level further in hides.
    pub(super) fn hidden(&self, name: &str) -> Vec<&'a Directive> {
        let mut has = self.levels.iter().rev().filter(|level| level.iter().any(|directive| directive.name == name));
        has.next();
        has.flat_map(|level| level.iter().filter(|directive| directive.name == name)).collect()
    }

    /// A path as the new file has to write it.
    pub(super) fn path(&self, path: &str) -> String {
        joined(self.folder, path)
    }

    /// The innermost level.
    pub(super) fn own(&self) -> &'a [Directive] {
        self.levels.last().copied().unwrap_or_default()
    }

    /// A text with the variables that `set` gives a fixed value.
    pub(super) fn expanded(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let sets = self.levels.iter().flat_map(|level| level.iter()).filter(|directive| directive.name == "set");
        for set in sets.filter(|set| !set.arg(1).contains('$') && set.arg(0).starts_with('$')) {
            text = replaced(&text, set.arg(0), set.arg(1));
        }
        text
    }
}

/// `text` with a value in the place of a variable, whose name must end where it ends.
fn replaced(text: &str, variable: &str, value: &str) -> String {
    let bare = variable.trim_start_matches('$');
    let text = text.replace(&format!("${{{bare}}}"), value);
    let (mut made, mut rest) = (String::new(), text.as_str());
    while let Some((before, after)) = rest.split_once(variable) {
        made.push_str(before);
        let goes_on = after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        made.push_str(if goes_on { variable } else { value });
        rest = after;
    }
    made + rest
}
