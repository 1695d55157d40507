//! Tells the program what it was built from, for `longwire --version --verbose`.
//!
//! The commit comes from the first of these that is there:
//!
//! 1. `LONGWIRE_COMMIT`, for builds without a repository, as in a container.
//! 2. `.cargo_vcs_info.json`, which `cargo package` puts into the crate.
//! 3. git, in a release build of a checkout. A debug build asks for no commit, or each commit would build all tests anew.
#![allow(clippy::disallowed_methods, reason = "a build reads files, and blocks nobody but cargo")]

use std::{env, fs, path::Path, process::Command};

/// What the program is made of. A change of one of these makes the commit untrue.
const SOURCES: [&str; 6] = ["build.rs", "Cargo.toml", "Cargo.lock", "src", "docs/openapi.yaml", "proxy.yaml"];

/// What `cargo package` says of the repository.
const PACKED: &str = ".cargo_vcs_info.json";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LONGWIRE_COMMIT");
    tell("COMMIT", &commit());
    tell("PROFILE", &variable("PROFILE"));
    tell("TARGET", &variable("TARGET"));
    tell("RUSTC", said(Command::new(variable("RUSTC")).arg("--version")).as_deref().unwrap_or("unknown"));
    tell("FEATURES", &features());
    watch("Cargo.lock");
    let locked = fs::read_to_string("Cargo.lock").unwrap_or_default();
    tell("TLS", &format!("rustls{} with ring{}", version(&locked, "rustls"), version(&locked, "ring")));
}

/// Sets a variable of the environment in which the program is compiled.
fn tell(name: &str, value: &str) {
    println!("cargo::rustc-env=LONGWIRE_BUILD_{name}={value}");
}

/// Builds anew when this file changes. One that is missing would be a change each time.
fn watch(path: &str) {
    if Path::new(path).exists() {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// What a command prints, without the end of the line. `None` = it failed.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}

fn commit() -> String {
    let given = variable("LONGWIRE_COMMIT");
    if !given.is_empty() {
        return given;
    }
    if let Ok(packed) = fs::read_to_string(PACKED) {
        watch(PACKED);
        return packed_commit(&packed).unwrap_or_else(|| "unknown".to_owned());
    }
    // A folder without a repository of its own may lie in the repository of something else.
    if !Path::new(".git").exists() {
        return "unknown".to_owned();
    }
    if variable("PROFILE") != "release" {
        return "not asked for".to_owned();
    }
    repository_commit().unwrap_or_else(|| "unknown".to_owned())
}

/// The commit in the file that `cargo package` writes.
fn packed_commit(packed: &str) -> Option<String> {
    let (_, rest) = packed.split_once("\"sha1\": \"")?;
    let commit = rest.split('"').next()?;
    Some(if packed.contains("\"dirty\": true") { changed(commit) } else { commit.to_owned() })
}

fn repository_commit() -> Option<String> {
    let commit = said(Command::new("git").args(["rev-parse", "HEAD"]))?;
    SOURCES.iter().for_each(|path| watch(path));
    // Each commit, checkout and reset adds a line here.
    watch(&said(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]))?);
    let status = said(Command::new("git").args(["status", "--porcelain", "--"]).args(SOURCES))?;
    Some(if status.is_empty() { commit } else { changed(&commit) })
}

fn changed(commit: &str) -> String {
    format!("{commit}, changed since")
}

/// The features of the crate that are on, by name.
fn features() -> String {
    let on = env::vars().filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()));
    let mut on: Vec<_> = on.filter(|name| name != "default").collect();
    on.sort();
    if on.is_empty() { "none".to_owned() } else { on.join(", ") }
}

/// The version of a dependency, behind a space. Without a lock file nobody knows it here.
fn version(locked: &str, name: &str) -> String {
    let rest = locked.split_once(&format!("\nname = \"{name}\"\nversion = \"")).map(|(_, rest)| rest);
    let version = rest.and_then(|rest| rest.split('"').next());
    version.map(|version| format!(" {version}")).unwrap_or_default()
}
