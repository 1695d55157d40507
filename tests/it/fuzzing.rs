//! The checks of the fuzz targets in `fuzz/`, on random input and on the seeds in git. `fuzz/run` lets libFuzzer, which is
//! led by coverage, run the same functions.

mod config;
mod frame;
mod handshake;
mod hold;
pub mod import;
pub mod proxy_protocol;
mod resume;
mod rewriting;
mod session;
mod tracker;

use std::path::Path;

use fs_err as fs;
use proptest::{collection::vec, prelude::*};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes in which small ones, and those that begin frames, are frequent.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let telling = prop::sample::select(&[
        0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0xC1, 0x7D, 0x7E, 0x7F, 0xFE, 0xFF,
    ]);
    vec(prop_oneof![2 => telling, 1 => 0..16_u8, 1 => any::<u8>()], 0..most)
}

/// A seed in which some bytes are overwritten, cut out or added.
fn damaged(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..4_usize, vec(any::<u8>(), 0..4));
    (prop::sample::select(seeds(target)), vec(change, 0..4)).prop_map(|(mut seed, changes)| {
        for (at, cut, put) in changes {
            let at = at.index(seed.len() + 1);
            let end = seed.len().min(at + cut);
            seed.splice(at..end, put);
        }
        seed
    })
}

/// The seeds of a target, at least one.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let seeds: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds
}

#[test]
fn the_seeds_of_every_target_hold() {
    for (target, check) in [
        ("config", config::check as fn(&[u8])),
        ("frame", frame::check),
        ("handshake", handshake::check),
        ("hold", hold::check),
        ("import", import::check),
        ("proxy_protocol", proxy_protocol::check),
        ("resume", resume::check),
        ("rewriting", rewriting::check),
        ("session", session::check),
        ("tracker", tracker::check),
    ] {
        seeds(target).iter().for_each(|seed| check(seed));
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn any_bytes_are_a_frame_header_as_tungstenite_reads_it(bytes in prop_oneof![bytes(150), damaged("frame")]) {
        frame::check(&bytes);
    }

    #[test]
    fn any_direction_is_the_same_however_it_is_split(bytes in prop_oneof![bytes(400), damaged("tracker")]) {
        tracker::check(&bytes);
    }

    #[test]
    fn any_script_of_a_session_passes_what_is_theirs_and_ends(bytes in prop_oneof![bytes(200), damaged("session")]) {
        session::check(&bytes);
    }

    #[test]
    fn any_script_of_a_hold_loses_no_message_of_a_client_and_ends(bytes in prop_oneof![bytes(200), damaged("hold")]) {
        hold::check(&bytes);
    }

    #[test]
    fn any_script_of_a_resume_brings_each_message_once_or_ends(bytes in prop_oneof![bytes(200), damaged("resume")]) {
        resume::check(&bytes);
    }

    #[test]
    fn any_begin_of_a_connection_is_judged_as_others_judge_it(bytes in prop_oneof![bytes(60), damaged("proxy_protocol")]) {
        proxy_protocol::check(&bytes);
    }

    #[test]
    fn any_head_is_judged_and_only_the_right_101_is_believed(bytes in prop_oneof![bytes(200), damaged("handshake")]) {
        handshake::check(&bytes);
    }

    #[test]
    fn any_path_is_rewritten_within_its_bounds_or_refused(bytes in prop_oneof![bytes(100), damaged("rewriting")]) {
        rewriting::check(&bytes);
    }
}

/// How many random scripts the next tests play, where the environment says nothing.
const SCRIPTS: u64 = 5000;

/// Millions of them with `LONGWIRE_SCRIPTS=10000000 cargo test --release --test it scripts_of_holds`.
#[test]
fn as_many_random_scripts_of_holds_as_are_asked_for_hold() {
    play_scripts(hold::check);
}

#[test]
fn as_many_random_scripts_of_resumes_as_are_asked_for_hold() {
    play_scripts(resume::check);
}

fn play_scripts(check: fn(&[u8])) {
    let asked = std::env::var("LONGWIRE_SCRIPTS").ok().map(|scripts| scripts.parse().unwrap());
    for seed in 1..=asked.unwrap_or(SCRIPTS) {
        // Xorshift, which takes less time than a script.
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[2]
        };
        let length = 2 + usize::from(next() % 100);
        let script: Vec<u8> = (0..length).map(|_| next()).collect();
        let outcome = std::panic::catch_unwind(|| check(&script));
        assert!(outcome.is_ok(), "script {seed}: {script:?}");
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_damaged_file_is_answered(bytes in damaged("config")) {
        config::check(&bytes);
    }

    #[test]
    fn any_damaged_original_is_imported_or_refused(bytes in damaged("import")) {
        import::check(&bytes);
    }
}
