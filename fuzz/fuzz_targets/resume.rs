#![no_main]

#[path = "../../tests/it/fuzzing/resume.rs"]
mod resume;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| resume::check(bytes));
