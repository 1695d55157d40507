//! What the documents say of the tests is so.

use std::{fs, path::Path};

#[test]
fn every_test_that_the_page_of_conformance_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/conformance.md")).unwrap();
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter_map(|words| words.split_once("::")).collect();
    assert!(named.len() > 60, "the page names {} tests", named.len());
    for (place, test) in named {
        let file = if place.ends_with(".rs") { place.to_owned() } else { format!("tests/it/{place}.rs") };
        let source = fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_there = ["    #[test]\n    fn", "#[test]\nfn", "#[tokio::test]\nasync fn"]
            .iter()
            .any(|begin| source.contains(&format!("{begin} {test}(")));
        assert!(is_there, "{file} has no test {test}");
    }
}
