#![no_main]

#[path = "../../tests/it/fuzzing/rewriting.rs"]
mod rewriting;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewriting::check(bytes));
