//! What `longwire explain` finds in 200 simulated logs, and what a million records cost it: `cargo bench --bench explain`.
//! It fails if precision or recall is below 0.95, or the million takes more than 10 s or 200 MB.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "it shares the simulation with the tests")]
#![expect(clippy::disallowed_methods, reason = "a program of its own, in which no session waits")]

#[path = "../tests/it/explain/mixture/mod.rs"]
mod mixture;
#[path = "../tests/it/explain/score.rs"]
mod score;

use std::{
    fs,
    io::{BufWriter, Write as _},
    process::ExitCode,
};

use longwire::tools::explain::{ExplainOptions, run};

use self::score::Score;

const MIXTURES: u64 = 200;
const SESSIONS: usize = 5000;
const LEAST: f64 = 0.95;
const RECORDS: u64 = 1_000_000;
const MOST_SECONDS: f64 = 10.0;
const MOST_MEGABYTES: f64 = 200.0;

fn main() -> ExitCode {
    let mut score = Score::default();
    for seed in 0..MIXTURES {
        // Other seeds than those of the test.
        score.add(1000 + seed, &mixture::mixture(1000 + seed, SESSIONS));
    }
    println!("{score}");
    let (seconds, megabytes) = million();
    println!("{RECORDS} records: {seconds:.2} s on one core, at most {megabytes:.0} MB of memory");
    let is_sound = score.precision() >= LEAST && score.recall() >= LEAST;
    if is_sound && seconds < MOST_SECONDS && megabytes < MOST_MEGABYTES { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seconds and the megabytes that a million records take.
fn million() -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut file = BufWriter::new(fs::File::create(&path).unwrap());
    let lines = (2000..).flat_map(|seed| mixture::mixture(seed, SESSIONS).lines);
    for line in lines.take(usize::try_from(RECORDS).unwrap()) {
        writeln!(file, "{line}").unwrap();
    }
    file.flush().unwrap();
    let options = ExplainOptions { files: vec![path], since: None, route: None };
    // From now on the kernel measures the most memory anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let begun = on_core();
    let account = run(&options).unwrap();
    let took = on_core() - begun;
    assert_eq!(account.records, RECORDS);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: f64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    (took, kilobytes / 1000.0)
}

/// The seconds that this thread has been on a core, whatever else the machine does.
fn on_core() -> f64 {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = schedule.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}
