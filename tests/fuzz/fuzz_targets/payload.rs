//! Any bytes as a payload.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_fuzz::payload::check(bytes));
