//! Any bytes as a proof and its message.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_fuzz::proof::check(bytes));
