//! Which directive counts at a place: the innermost level that has it.

use std::collections::BTreeMap;

use super::blocks::Directive;
use crate::import::origin::joined;

/// The longest value that `set` gives to a variable here, in bytes: values may double with each `set`.
const LONGEST_VALUE: usize = 1024;

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

    /// A text with the values that `set` gives to its variables. The levels run `set` from the outermost in, and the last
    /// one counts.
    pub(super) fn expanded(&self, text: &str) -> String {
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        let sets = self.levels.iter().flat_map(|level| level.iter()).filter(|directive| directive.name == "set");
        for set in sets {
            let Some(name) = set.arg(0).strip_prefix('$') else { continue };
            let value = substituted(set.arg(1), &values);
            if value.len() <= LONGEST_VALUE {
                values.insert(name.to_ascii_lowercase(), value);
            }
        }
        substituted(text, &values)
    }
}

/// A text with values in the place of its variables. nginx does not look at the letter case of their names.
fn substituted(text: &str, values: &BTreeMap<String, String>) -> String {
    let (mut made, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        made.push_str(before);
        let (name, whole) = variable(after);
        match values.get(&name.to_ascii_lowercase()).filter(|_| made.len() <= LONGEST_VALUE) {
            Some(value) => made.push_str(value),
            None => {
                made.push('$');
                made.push_str(&after.get(..whole).unwrap_or_default().to_ascii_lowercase());
            }
        }
        rest = after.get(whole..).unwrap_or_default();
    }
    made + rest
}

/// The name of the variable with which a text begins behind its `$`, and how long it is there.
pub(super) fn variable(after: &str) -> (&str, usize) {
    if let Some((name, _)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        return (name, name.len() + 2);
    }
    let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
    (after.get(..end).unwrap_or_default(), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::nginx::tokens::ConfWord;

    fn set(name: &str, value: &str) -> Directive {
        let word = |text: &str| ConfWord { text: text.to_owned(), is_quoted: false };
        let at = crate::import::origin::FileLine { file: "a".into(), line: 1 };
        Directive { name: "set".to_owned(), args: vec![word(name), word(value)], block: None, at }
    }

    #[test]
    fn the_last_value_of_a_variable_counts_and_none_grows_without_bound() {
        let outer = [set("$a", "1"), set("$b", "x$a"), set("$a", "2"), set("$c", "$d")];
        let inner = [set("$B", "y${a}z"), set("$d", "4")];
        let scope = Scope::new("", vec![&outer, &inner]);
        assert_eq!(scope.expanded("$a-$b-${B}$bb $c $d $E$"), "2-y2z-y2z$bb $d 4 $e$");
        let doubled: Vec<Directive> =
            std::iter::once(set("$a", "aaaaaaaa")).chain((0..64).map(|_| set("$a", "$a$a"))).collect();
        assert!(Scope::new("", vec![&doubled]).expanded("$a").len() <= LONGEST_VALUE);
    }
}
