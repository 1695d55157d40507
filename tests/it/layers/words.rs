//! What names promise. One word is one type: who searches for a type's name finds one declaration, unless the list below
//! says why there are more. A name that asks is a question: its function answers yes or no, and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use syn::{
    FnArg, Item, ReturnType, Signature, Type,
    visit::{self, Visit},
};

use super::{
    modules::{attributes, is_for_tests, name_of},
    source, sources,
};

/// The names that a module may give to its types, though types of other modules have them too.
struct Twins {
    module: &'static str,
    names: &'static [&'static str],
    /// Why another name would be worse.
    reason: &'static str,
}

const TWINS: [Twins; 3] = [
    Twins {
        module: "config::file",
        names: &[
            "Admin",
            "Backend",
            "CertificateFiles",
            "CheckKind",
            "Drain",
            "HashOn",
            "HealthCheck",
            "Keepalive",
            "Limits",
            "Listener",
            "Log",
            "LogFormat",
            "OnDown",
            "Refuse",
            "Route",
            "Side",
            "Tcp",
            "Timeouts",
            "Tls",
            "Tracing",
            "Upstream",
        ],
        reason: "a section of the file, before it is resolved; users read these names in the JSON Schema",
    },
    Twins { module: "traces::off", names: &["Trace", "Traces"], reason: "stands in for `traces` without `otlp`" },
    Twins { module: "tools::bench::pacer", names: &["Pacer"], reason: "one with the timer of Linux, one without" },
];

/// How the name of a question begins.
const ASKS: [&str; 6] = ["is_", "has_", "was_", "may_", "can_", "wants_"];

/// The names of the crate.
#[derive(Debug, Default)]
struct Names {
    /// The types, with the module of each declaration. A name may stand twice in one module.
    types: BTreeMap<String, Vec<String>>,
    /// Functions with the name of a question that give another answer or change what they ask.
    no_questions: BTreeSet<String>,
}

impl Names {
    /// Adds the names of a file, but not those of its tests. `place`: its path below the source of the crate.
    fn add(&mut self, place: &Path, text: &str) {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        Reader { names: self, module: name_of(place) }.visit_file(&file);
    }

    /// What breaks the first rule, a line each, in words for somebody who sees the rule for the first time.
    fn complaints(&self, twins: &[Twins]) -> Vec<String> {
        let mut complaints = Vec::new();
        let is_twin =
            |name: &str, module: &str| twins.iter().any(|twins| twins.module == module && twins.names.contains(&name));
        for (name, modules) in self.types.iter().filter(|(_, modules)| modules.len() > 1) {
            if modules.iter().filter(|module| !is_twin(name, module)).count() > 1 {
                complaints.push(format!(
                    "{name} is a type of {}. Give each a name that says what it is, or list it in TWINS \
                     (tests/it/layers/words.rs) with the reason.",
                    modules.join(" and of ")
                ));
            }
        }
        for Twins { module, names, reason } in twins {
            for name in *names {
                let modules = self.types.get(*name).map_or(&[][..], Vec::as_slice);
                if modules.len() < 2 || !modules.iter().any(|other| other == module) {
                    complaints.push(format!("{name} of {module} has no twin ({reason}). Remove it from TWINS."));
                }
            }
        }
        complaints
    }
}

/// Collects the names that one file declares.
struct Reader<'a> {
    names: &'a mut Names,
    module: String,
}

impl Reader<'_> {
    fn note(&mut self, name: String) {
        self.names.types.entry(name).or_default().push(self.module.clone());
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            return;
        }
        match item {
            Item::Struct(item) => self.note(item.ident.to_string()),
            Item::Enum(item) => self.note(item.ident.to_string()),
            Item::Union(item) => self.note(item.ident.to_string()),
            Item::Trait(item) => self.note(item.ident.to_string()),
            Item::Type(item) => self.note(item.ident.to_string()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_signature(&mut self, function: &'ast Signature) {
        let name = function.ident.to_string();
        let asks = ASKS.iter().any(|asks| name.starts_with(asks));
        let answers = matches!(&function.output, ReturnType::Type(_, answer)
            if matches!(&**answer, Type::Path(answer) if answer.path.is_ident("bool")));
        let changes = matches!(function.inputs.first(), Some(FnArg::Receiver(me)) if me.mutability.is_some());
        if asks && (changes || !answers) {
            self.names.no_questions.insert(format!("{name} of {}", self.module));
        }
    }

    /// The inside of a macro is no syntax yet. A type whose name stands in it is seen; one whose name is put together
    /// is not.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let text = called.tokens.to_string();
        let words: Vec<_> = text.split(|c: char| !(c.is_alphanumeric() || "_$".contains(c))).collect();
        let declared = words.windows(2).filter(|pair| ["struct", "enum", "trait", "type"].contains(&pair[0]));
        let names: BTreeSet<_> =
            declared.map(|pair| pair[1]).filter(|name| name.starts_with(char::is_uppercase)).collect();
        for name in names {
            self.note(name.to_owned());
        }
    }
}

#[test]
fn a_word_names_one_type() {
    let names = names();
    assert!(names.types.len() > 400, "only {} types were found", names.types.len());
    let complaints = names.complaints(&TWINS);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_question_is_answered_by_yes_or_no_and_changes_nothing() {
    let no_questions = names().no_questions;
    assert!(
        no_questions.is_empty(),
        "their names ask, but they do not return a bool, or take &mut self: {no_questions:?}"
    );
}

#[test]
fn a_planted_question_that_changes_something_is_found() {
    let house = "trait Window { fn is_open(&self) -> bool; } fn island() {} struct A; \
                 impl A { fn is_shut(&mut self) -> bool { x } fn has_glass(self) -> bool { x } fn opens(&mut self) {} } \
                 fn may_open(a: &mut A) -> u8 { fn is_in(&self) -> bool { x } 0 } fn was_shut() {}";
    let found = planted(&[("house.rs", house)]).no_questions;
    assert_eq!(found, ["is_shut", "may_open", "was_shut"].map(|name| format!("{name} of house")).into());
}

#[test]
fn a_planted_word_for_two_types_is_found() {
    let twins = [Twins { module: "house::paper", names: &["Door"], reason: "a drawing" }];
    let house = [
        ("house/mod.rs", "mod paper; pub struct Door; pub enum Window { Open, Shut } fn f() { g!(struct $name; x) }"),
        ("house/paper.rs", "pub struct Door; impl Iterator for Door { type Item = u8; } #[cfg(test)] struct Window;"),
        ("garden.rs", "pub type Path = u8; #[cfg(test)] mod tests { struct Door; }"),
    ];
    assert_eq!(planted(&house).complaints(&twins), [""; 0]);
    for second in [
        "struct Door;",
        "enum Door {}",
        "union Door { a: u8 }",
        "trait Door {}",
        "type Door = u8;",
        "fn f() { struct Door; }",
        "m! { #[derive(Debug)] pub struct Door { $field: u8 } }",
    ] {
        let said = planted(&[&house[..], &[("barn.rs", second)]].concat()).complaints(&twins);
        let [said] = &said[..] else { panic!("{second}: {said:?}") };
        assert!(said.starts_with("Door is a type of house and of house::paper and of barn. Give each"), "{said}");
    }
    let said = planted(&[("shed.rs", "struct Tool; fn f() { enum Tool {} }")]).complaints(&[]);
    assert!(said[0].starts_with("Tool is a type of shed and of shed."), "{said:?}");
}

#[test]
fn a_listed_twin_that_has_none_is_found() {
    let twins = [Twins { module: "paper", names: &["Door", "Gate"], reason: "a drawing" }];
    let alone = [("paper.rs", "struct Door; struct Gate;"), ("house.rs", "struct Gate;")];
    assert_eq!(planted(&alone).complaints(&twins), ["Door of paper has no twin (a drawing). Remove it from TWINS."]);
    let elsewhere =
        [("paper.rs", "struct Gate;"), ("house.rs", "struct Door; struct Gate;"), ("barn.rs", "struct Door;")];
    let said = planted(&elsewhere).complaints(&twins);
    assert!(said.len() == 2 && said[0].starts_with("Door is a type of house and of barn."), "{said:?}");
    assert_eq!(said[1], "Door of paper has no twin (a drawing). Remove it from TWINS.");
}

/// The names in the source of the crate.
fn names() -> Names {
    let mut names = Names::default();
    for file in sources(&source()) {
        names.add(file.strip_prefix(source()).unwrap(), &fs_err::read_to_string(&file).unwrap());
    }
    names
}

/// The names in files that are only text.
fn planted(files: &[(&str, &str)]) -> Names {
    let mut names = Names::default();
    for (place, text) in files {
        names.add(Path::new(place), text);
    }
    names
}
