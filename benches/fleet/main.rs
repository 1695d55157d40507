//! A fleet of longwire instances in virtual time: `cargo bench --bench fleet`. It runs everything that docs/scale.md tells of, with 1,000
//! instances and 10 million sessions, in two minutes and 400 MB, and writes benches/FLEET.md and the plots docs/scale-*.svg.
//!
//! ```text
//! cargo bench --bench fleet                  all of it
//! cargo bench --bench fleet -- zone up-stay  the runs whose names begin so; nothing is written
//! cargo bench --bench fleet -- --check       all of it; nothing is written. Fails where a figure cannot be, or the page is stale
//! cargo bench --bench fleet -- three KEY=N…  what benches/fleet/real holds against three real processes, as JSON
//! cargo bench --bench fleet -- balance …     the balancer of benches/fleet/real
//! ```
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "it shares the model with the tests")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program of its own, in which no session waits"
)]

/// A balancer for real processes.
mod balancer;
/// What must hold.
mod checks;
/// What is said of a run.
mod figures;
/// The fleet.
mod model;
/// The page.
mod page;
/// Curves.
mod plot;
/// The plots of docs/scale.md.
mod plots;
/// What real processes are held against.
mod three;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use self::{
    figures::Figures,
    model::{
        scenarios::{Scenario, Size, all},
        world::World,
    },
    three::Parameters,
};

const SIZE: Size = Size { instances: 1_000, sessions: 10_000_000 };
const PAGE: &str = "benches/FLEET.md";

fn main() -> ExitCode {
    // cargo adds this.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let done = match arguments.first().map(String::as_str) {
        Some("three") => {
            Parameters::read(&arguments[1..]).and_then(|three| three.figures()).map(|json| println!("{json}"))
        }
        Some("balance") => balancer::serve(&arguments[1..]),
        Some("--check") => run(&[], true),
        _ => run(&arguments, false),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what begins with one of these names, or everything.
fn run(names: &[String], is_check: bool) -> Result<(), String> {
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|begin| name.starts_with(begin.as_str()));
    let figures = run_all(all(SIZE).into_iter().filter(|scenario| is_wanted(scenario.name)).collect());
    let page = page::page(SIZE, &figures);
    println!("\n{page}");
    let broken = checks::broken(&figures);
    broken.iter().for_each(|what| println!("FAILED: {what}"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![(root.join(PAGE), page)];
    files.extend(plots::plots(&figures).into_iter().map(|(name, svg)| (root.join("docs").join(name), svg)));
    let mut stale = 0;
    if names.is_empty() {
        for (path, text) in &files {
            if !is_check {
                fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            } else if fs::read_to_string(path).ok().as_ref() != Some(text) {
                println!("FAILED: {} is stale", path.display());
                stale += 1;
            }
        }
    }
    let failed = broken.len() + stale;
    println!("{} passed, {failed} failed", figures.len());
    if failed == 0 { Ok(()) } else { Err("figures that cannot be".to_owned()) }
}

/// Runs them on two cores: each takes 160 MB and more.
fn run_all(scenarios: Vec<Scenario>) -> Vec<Figures> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(place) else { return };
            let began = Instant::now();
            let world = World::run(scenario.rules.clone());
            println!("{:24} {:5.1} s", scenario.name, began.elapsed().as_secs_f32());
            let figures = Figures { scenario: scenario.clone(), is_sound: world.is_sound(), record: world.record };
            done.lock().unwrap().push((place, figures));
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, figures)| figures).collect()
}
