//! The modules of a crate, a file each, and which uses which, read from the source.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree, Visibility,
    ext::IdentExt as _,
    visit::{self, Visit},
};

/// A path in the source, word by word: `super::live::Live`.
type Words = Vec<String>;

/// A name may lead to another name. More of them than this are a circle.
const MOST_ALIASES: usize = 8;

/// The modules by their names, as in `net::session::relay`. The root of the crate is the empty name.
#[derive(Debug, Default)]
pub struct Modules(BTreeMap<String, Module>);

/// Which modules each module uses, and the names that it takes from there.
pub type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<&'a str>>>;

#[derive(Debug, Default)]
struct Module {
    /// What `use` brings into the module, by the name that the module then says.
    aliases: BTreeMap<String, Words>,
    /// Every path that the module says.
    said: BTreeSet<Words>,
}

impl Modules {
    /// Reads every file below `source` but those of tests, and `main.rs`, which is a crate of its own.
    pub fn read(source: &Path) -> Self {
        let mut modules = Self::default();
        for file in super::sources(source) {
            let place = file.strip_prefix(source).unwrap();
            if place != Path::new("main.rs") {
                modules.add(place, &fs_err::read_to_string(&file).unwrap());
            }
        }
        modules
    }

    /// Adds a file. `place`: its path below the source of the crate.
    pub fn add(&mut self, place: &Path, text: &str) {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let mut reader = Reader { module: Module::default(), place };
        reader.visit_file(&file);
        self.0.insert(name_of(place), reader.module);
    }

    /// What each module uses of others. The root of the crate is left out: it only lists its modules.
    pub fn arrows(&self) -> Arrows<'_> {
        let mut arrows = Arrows::new();
        for (name, module) in self.0.iter().filter(|(name, _)| !name.is_empty()) {
            let used = arrows.entry(name.as_str()).or_default();
            for words in &module.said {
                if let Some((other, item)) = self.find(name, words, MOST_ALIASES).filter(|(other, _)| other != name) {
                    used.entry(other).or_default().insert(item);
                }
            }
            used.remove("");
        }
        arrows
    }

    /// The module in which `words`, said in the module `from`, are defined, and the word that is taken from there.
    /// `None`: it is in another crate.
    fn find<'a>(&'a self, from: &str, words: &'a [String], aliases_left: usize) -> Option<(&'a str, &'a str)> {
        let aliases_left = aliases_left.checked_sub(1)?;
        let mut place: Vec<&str> = from.split("::").filter(|word| !word.is_empty()).collect();
        let mut rest = words.iter().map(String::as_str).peekable();
        match *rest.peek()? {
            "crate" => {
                rest.next();
                place.clear();
            }
            "self" => {
                rest.next();
            }
            "super" => {
                while rest.next_if(|word| *word == "super").is_some() {
                    place.pop();
                }
            }
            first if self.0.contains_key(&joined(&place, first)) => {}
            _ => return None,
        }
        for word in rest {
            if self.0.contains_key(&joined(&place, word)) {
                place.push(word);
                continue;
            }
            let (here, module) = self.0.get_key_value(&place.join("::"))?;
            let behind = module.aliases.get(word).and_then(|words| self.find(here, words, aliases_left));
            return Some(behind.unwrap_or((here, word)));
        }
        let (here, _) = self.0.get_key_value(&place.join("::"))?;
        Some((here, words.last()?))
    }
}

fn joined(place: &[&str], word: &str) -> String {
    place.iter().copied().chain([word]).collect::<Vec<_>>().join("::")
}

/// The name of the module in a file. `place`: its path below the source of the crate.
pub fn name_of(place: &Path) -> String {
    let without_extension = place.with_extension("");
    let mut words: Vec<_> = without_extension.iter().map(|word| word.to_str().unwrap()).collect();
    words.pop_if(|last| ["mod", "lib"].contains(last));
    words.join("::")
}

/// Collects what one file says.
struct Reader<'a> {
    module: Module,
    place: &'a Path,
}

impl Reader<'_> {
    fn read_use(&mut self, before: &[String], tree: &UseTree) {
        let ending_in = |name: &str| match name {
            // `use a::{self}` is `use a`.
            "self" => before.to_vec(),
            _ => [before, &[name.to_owned()]].concat(),
        };
        match tree {
            UseTree::Path(path) => self.read_use(&ending_in(&path.ident.unraw().to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.read_use(before, tree)),
            UseTree::Glob(_) => self.bring_in("*".to_owned(), before.to_vec()),
            UseTree::Rename(rename) => {
                self.bring_in(rename.rename.unraw().to_string(), ending_in(&rename.ident.unraw().to_string()));
            }
            UseTree::Name(name) => {
                let words = ending_in(&name.ident.unraw().to_string());
                self.bring_in(words.last().cloned().unwrap_or_default(), words);
            }
        }
    }

    fn bring_in(&mut self, alias: String, words: Words) {
        self.module.said.insert(words.clone());
        self.module.aliases.insert(alias, words);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes(item).iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    /// `pub(super)` tells who may use an item, and uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        assert!(module.content.is_none(), "{}: give {} a file of its own", self.place.display(), module.ident);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // `use self::inner` and `use ::outer` begin as the path does.
        self.read_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.module.said.insert(path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect());
        visit::visit_path(self, path);
    }

    /// The inside of a macro call is no syntax yet: every run of words with `::` between them counts as a path.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let text = called.tokens.to_string().replace(" ::", "::").replace(":: ", "::");
        let is_path = |words: &&str| words.contains("::");
        for words in text.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).filter(is_path) {
            self.module.said.insert(words.split("::").map(str::to_owned).collect());
        }
        visit::visit_macro(self, called);
    }
}

/// The attributes of an item that may belong to tests.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item is compiled only for tests.
pub fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Meta>().is_ok_and(|condition| condition.path().is_ident("test"))
}
