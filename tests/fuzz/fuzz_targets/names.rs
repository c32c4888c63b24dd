//! Any bytes as names, patterns and topics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_fuzz::names::check(bytes));
