#![no_main]

#[path = "../../tests/it/fuzzing/tracker.rs"]
mod tracker;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tracker::check(bytes));
