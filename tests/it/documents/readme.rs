//! The README: its commands, which are run as they are written, its length and its figures.

use std::{path::Path, process::Command};

use fs_err as fs;

use super::{
    blocks::{self, Block},
    text,
};

#[test]
fn the_readme_is_short() {
    let lines = text("README.md").lines().count();
    assert!(lines <= 200, "{lines} lines");
}

#[test]
fn marked_commands_run_as_written_and_print_what_stands_below() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = String::new();
    let mut runs = 0;
    for Block { marker, text, line, .. } in blocks::of(&text("README.md")) {
        match marker.as_deref() {
            Some("run") => said = run(folder.path(), &text, 0, line),
            Some("run: exit 1") => said = run(folder.path(), &text, 1, line),
            Some("prints") if !said.is_empty() => assert_eq!(said.trim(), text.trim(), "line {line}"),
            Some(other) => {
                if let Some(name) = other.strip_prefix("file: ") {
                    fs::write(folder.path().join(name), &text).unwrap();
                }
                continue;
            }
            None => continue,
        }
        runs += 1;
    }
    assert_eq!(runs, 3, "marked blocks");
}

/// Runs commands in a shell in which `longwire` is that of this build. Returns everything that they print.
fn run(folder: &Path, commands: &str, code: i32, line: usize) -> String {
    let built = Path::new(env!("CARGO_BIN_EXE_longwire")).parent().unwrap();
    let path = format!("{}:{}", built.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &format!("exec 2>&1\n{commands}")]).current_dir(folder).env("PATH", path);
    let output = shell.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "line {line}: {said}");
    said
}

#[test]
fn the_two_commands_are_what_ci_runs() {
    let ci = text(".ci/run");
    let page = blocks::of(&text("README.md"));
    let block = page.iter().find(|block| block.marker.as_deref() == Some(".ci/run runs these")).unwrap();
    for command in block.text.lines() {
        // The CI runs it with --locked, with a deadline, and with an end of its own.
        let is_run = ci.lines().any(|line| {
            let mut words = line.split_whitespace();
            command.split_whitespace().all(|word| words.any(|other| other == word))
        });
        assert!(is_run, "{command}");
    }
}

#[test]
fn the_figures_are_those_of_the_results() {
    let results = text("benches/RESULTS.md");
    let measured = |work: &str, against: &str| {
        let mut rows = results.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let row = rows.find(|cells| cells.get(1..3) == Some(&[work, against]));
        let row = row.unwrap_or_else(|| panic!("no row {work:?} against {against} in benches/RESULTS.md"));
        // The median stands before its range, in bold where a bound is not reached.
        row[4].split(' ').next().unwrap_or_default().trim_matches('*').to_owned()
    };
    let page = text("README.md");
    let (_, table) = page.split_once("\n| work | nginx | HAProxy |\n|---|---:|---:|\n").unwrap();
    let rows: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
    for row in &rows {
        let work = row.split('|').nth(1).unwrap().trim();
        let renewed = format!("| {work} | {} | {} |", measured(work, "nginx"), measured(work, "HAProxy"));
        assert_eq!(*row, renewed, "the README's figures are stale");
    }
    assert_eq!(rows.len(), 5);
}
