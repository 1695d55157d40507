//! What `longwire explain` finds in 200 simulated logs, what a million records cost it, and what the last hour costs a running
//! process: `cargo bench --bench explain`. It fails if precision or recall is below 0.95, or the million takes more than 10 s
//! or 200 MB.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "it shares the simulation with the tests")]
#![expect(clippy::disallowed_methods, reason = "a program of its own, in which no session waits")]

#[path = "../tests/it/explain/mixture/mod.rs"]
mod mixture;
#[path = "../tests/it/explain/score.rs"]
mod score;

use std::{
    fs,
    io::{BufWriter, Write as _},
    mem,
    net::IpAddr,
    process::ExitCode,
};

use longwire::{
    access_log::{EndSampler, Record, RecordKind},
    balance::random_at,
    explain::{EndClass, EndsOfHour, RecentEnds, SampledEnd, record::read},
    outcome::Outcome,
    sender::Client,
    tools::explain::{ExplainOptions, run},
    ws::termination::Cause,
};

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
    let nanos = note();
    println!("{nanos:.0} ns to note one end");
    for ends in [EndsOfHour::MOST_SESSIONS, 2 * EndsOfHour::MOST_SESSIONS] {
        let (millis, patterns) = hour(ends);
        println!("{millis:.0} ms to explain an hour with {ends} ends: {patterns} patterns");
    }
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

/// The nanoseconds that it takes to note the end of a session.
fn note() -> f64 {
    const TIMES: u32 = 50;
    let (sampler, mut spent) = (EndSampler::default(), 0.0);
    let mut record = Record::new(None, Client::from(IpAddr::from([192, 0, 2, 1])), "GET", "/ws");
    (record.kind, record.cause) = (RecordKind::Session, Outcome::Ended(Cause::ClientLost));
    (record.route, record.backend) = (Some("chat.example.com/ws/".into()), Some("10.0.0.1:8080".into()));
    for _ in 0..TIMES {
        let begun = on_core();
        for _ in 0..RecentEnds::MOST_SESSIONS {
            sampler.note(&record);
        }
        spent += on_core() - begun;
        assert_eq!(sampler.take().count(EndClass::Session), RecentEnds::MOST_SESSIONS);
    }
    spent * 1e9 / f64::from(TIMES) / RecentEnds::MOST_SESSIONS as f64
}

/// The milliseconds that it takes to explain so many ends, and how many patterns they have. Of more than are kept, a fair sample
/// is explained.
fn hour(ends: usize) -> (f64, usize) {
    // The records are of several hours. An hour that has not begun forgets none of them.
    const NOW: i64 = 0;
    let (mut hour, mut recent, mut scratch) = (EndsOfHour::default(), RecentEnds::default(), String::new());
    let lines = (3000..).flat_map(|seed| mixture::mixture(seed, SESSIONS).lines);
    for (number, line) in (0..).zip(lines.take(ends)) {
        let record = read(line.as_bytes(), &mut scratch).unwrap();
        let lot = (random_at(number) >> 32) as u32;
        if let Some(end) = SampledEnd::of(&record, "client_lost", lot, |_| true) {
            recent.push(end);
        }
        if number % 8192 == 0 {
            hour.add(mem::take(&mut recent), NOW);
        }
    }
    hour.add(recent, NOW);
    let begun = on_core();
    let patterns = hour.patterns();
    ((on_core() - begun) * 1000.0, patterns.len())
}

/// The seconds that this thread has been on a core, whatever else the machine does.
fn on_core() -> f64 {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = schedule.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}
