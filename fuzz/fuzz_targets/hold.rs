#![no_main]

#[path = "../../tests/it/fuzzing/hold.rs"]
mod hold;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hold::check(bytes));
