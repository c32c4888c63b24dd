//! Any bytes as frames of the broker's plugin.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_fuzz::frames::check(bytes));
