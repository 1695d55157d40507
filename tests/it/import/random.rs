//! Originals that nobody would write: none makes the import panic or go on for ever, and what comes out is YAML.

use fs_err as fs;
use longwire::import::{self, Dialect, ImportTerms, IncludedFile};
use proptest::prelude::*;

use super::originals;
use crate::fuzzing::import::judge;

fn file(text: &str) -> IncludedFile {
    IncludedFile { name: "a.conf".to_owned(), identity: "a".to_owned(), text: text.to_owned() }
}

/// The lines of all originals of one language.
fn lines(end: &str) -> Vec<String> {
    let files = originals().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == end));
    let text: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(str::to_owned).collect()
}

/// The words of all originals of one language, and marks.
fn scraps(end: &str) -> impl Strategy<Value = String> + use<> {
    let words: Vec<String> = lines(end).iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect();
    let marks = [
        "{", "}", ";", "\"", "'", "\\", "#", "$", "${", "\n", "0", "-1", "é", "*", "[", "(", "|", "!", "%[", "//",
        "unix:",
    ];
    let marks: Vec<String> = marks.map(str::to_owned).to_vec();
    prop_oneof![8 => prop::sample::select(words), 1 => prop::sample::select(marks)]
}

/// An original in which some words are others.
fn changed(end: &'static str) -> impl Strategy<Value = String> {
    let files: Vec<String> = originals()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == end))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let change = (any::<prop::sample::Index>(), scraps(end), 0..3_u8);
    (prop::sample::select(files), prop::collection::vec(change, 1..6)).prop_map(|(text, changes)| {
        let mut words: Vec<String> = text.split_inclusive(char::is_whitespace).map(str::to_owned).collect();
        for (place, scrap, kind) in changes {
            let place = place.index(words.len());
            let space: String = words[place].chars().filter(|c| c.is_whitespace()).collect();
            match kind {
                0 => words[place] = format!("{scrap}{space}"),
                1 => words[place] = space,
                _ => words.insert(place, format!("{scrap} ")),
            }
        }
        words.concat()
    })
}

/// Other inputs in each run, a few seconds of them; a failure prints the smallest input that fails. `PROPTEST_CASES` is for more.
fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_is_imported_or_refused(text in "\\PC{0,60}", is_nginx in any::<bool>()) {
        judge(&text, Some(if is_nginx { Dialect::Nginx } else { Dialect::Haproxy }), "").map_err(TestCaseError::fail)?;
    }

    #[test]
    fn scraps_of_originals_are_imported_or_refused(
        nginx in prop::collection::vec(scraps("conf"), 0..40),
        haproxy in prop::collection::vec(scraps("cfg"), 0..40),
    ) {
        judge(&nginx.join(" "), Some(Dialect::Nginx), "include c;").map_err(TestCaseError::fail)?;
        judge(&format!("frontend f\n{}", haproxy.join(" ")), Some(Dialect::Haproxy), "x y\n").map_err(TestCaseError::fail)?;
    }

    #[test]
    fn an_original_in_which_words_are_others_makes_a_file_that_can_be_checked(nginx in changed("conf"), haproxy in changed("cfg")) {
        judge(&nginx, None, "proxy_read_timeout 1h;").map_err(TestCaseError::fail)?;
        judge(&haproxy, Some(Dialect::Haproxy), "").map_err(TestCaseError::fail)?;
    }
}

#[test]
fn includes_and_blocks_have_a_bound() {
    let import = |text: &str, included: &str| {
        let mut number = 0;
        let mut read = |_: &str| {
            number += 1;
            let (name, identity) = ("b.conf".to_owned(), format!("b{number}"));
            Ok(vec![IncludedFile { name, identity, text: included.to_owned() }])
        };
        let done = import::import(file(text), ImportTerms { dialect: Some(Dialect::Nginx), folder: "" }, &mut read);
        done.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(import("include b;", "include b;"), Err("b.conf:1: error: includes stand more than 16 deep".to_owned()));
    let wide = "include b;\n".repeat(2000);
    assert_eq!(import(&wide, ""), Err("a.conf:1000: error: more than 1000 files, or 16 MiB".to_owned()));
    let deep = "a {".repeat(40);
    assert_eq!(import(&deep, ""), Err("a.conf:1: error: blocks stand more than 32 deep".to_owned()));
    let hosts: String = (0..100).map(|host| format!("h{host}.example.com ")).collect();
    let locations: String = (0..100).map(|path| format!("location /{path} {{ proxy_pass http://a:1; }}")).collect();
    let many = format!("server {{ return 404; }} server {{ server_name {hosts}; {locations} }}");
    let done = import::import(file(&many), ImportTerms { dialect: None, folder: "" }, &mut |_| Ok(Vec::new())).unwrap();
    assert_eq!(done.yaml.matches("  - host:").count(), 2000);
    assert!(done.yaml.contains("left out: more than 2000 routes"));
}
