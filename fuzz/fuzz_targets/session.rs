#![no_main]

#[path = "../../tests/it/fuzzing/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| session::check(bytes));
