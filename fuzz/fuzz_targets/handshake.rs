#![no_main]

#[path = "../../tests/it/fuzzing/handshake.rs"]
mod handshake;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| handshake::check(bytes));
