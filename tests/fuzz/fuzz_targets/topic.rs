//! Any bytes as a topic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_fuzz::topic::check(bytes));
