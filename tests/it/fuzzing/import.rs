//! Any text is imported as each of the two languages, or refused. What is made of it passes `check`, or lacks what the
//! original lacks.

use std::path::Path;

use longwire::{
    config,
    import::{self, Dialect, ImportTerms, IncludedFile},
};

/// What `check` may say of a file that was made: the original has nothing of it, or asks itself.
const LACKING: [&str; 5] = ["no listener", "no upstream", "no route", "the file is empty", "is longwire itself"];

/// `bytes` are a file. What it includes is always the same text.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for (dialect, included) in [(Dialect::Nginx, "proxy_read_timeout 1h;"), (Dialect::Haproxy, "site.pem")] {
        if let Err(complaint) = judge(text, Some(dialect), included) {
            panic!("{complaint}");
        }
    }
}

/// Imports a text whose includes all give the same text.
///
/// # Errors
/// What is wrong with the result.
pub fn judge(text: &str, dialect: Option<Dialect>, included: &str) -> Result<(), String> {
    let mut number = 0;
    let mut read = |_: &str| {
        number += 1;
        Ok(vec![IncludedFile { name: "b.conf".to_owned(), identity: format!("b{number}"), text: included.to_owned() }])
    };
    let file = IncludedFile { name: "a.conf".to_owned(), identity: "a".to_owned(), text: text.to_owned() };
    let Ok(imported) = import::import(file, ImportTerms { dialect, folder: "" }, &mut read) else { return Ok(()) };
    for remark in &imported.remarks {
        let is_there = remark.file == "b.conf" || (1..=text.lines().count().max(1)).contains(&remark.line);
        if !is_there || remark.text.is_empty() {
            return Err(format!("{text}\n{remark:?}"));
        }
    }
    let yaml = &imported.yaml;
    match config::parse(yaml, "proxy.yaml", Path::new("")) {
        Err(errors) if !errors.lines().all(|line| LACKING.iter().any(|lacking| line.contains(lacking))) => {
            Err(format!("{text}\n{yaml}\n{errors}"))
        }
        _ => Ok(()),
    }
}
