#![no_main]

#[path = "../../tests/it/fuzzing/frame.rs"]
mod frame;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frame::check(bytes));
