//! The fuzz targets compile with the types of today and hold for a few inputs; `cargo fuzz` tries the
//! rest.

#[path = "../fuzz/src/lib.rs"]
mod sluice_fuzz;

use sluice_fuzz::{payload, topic};

const PAYLOADS: [&str; 7] = [
    "",
    "{",
    "{}",
    r#"{"ts":1750000000000,"seq":7,"metrics":{"t":21.5},"provision_token":"secret"}"#,
    r#"{"provision_token":"\u0073ecret","provision_token":["x",{"provision_token":"y"}]}"#,
    r#"{"reported":{"a":[1,2,{"b":null}]},"version":3,"provision_token":"secret"}"#,
    r#"{"command_id":"0191d5a0-0000-7000-8000-000000000001","provision_token":"secret"}"#,
];

const TOPICS: [&str; 5] = [
    "",
    "tenant/t/device/d/telemetry",
    "tenant/t/device/d/shadow/reported",
    "tenant/t/device//telemetry",
    "tenant/\u{fffd}/device/d/x/y/z",
];

/// The text with each of its bytes cut off or replaced.
fn variants(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let bytes = text.as_bytes().to_vec();
    (0..=bytes.len()).flat_map(move |at| {
        let mut replaced = bytes.clone();
        if let Some(byte) = replaced.get_mut(at) {
            *byte = byte.wrapping_mul(167).wrapping_add(13);
        }
        [bytes[..at].to_vec(), replaced]
    })
}

#[test]
fn the_fuzz_targets_hold_for_a_few_inputs_and_their_variants() {
    PAYLOADS.into_iter().flat_map(variants).for_each(|bytes| payload::check(&bytes));
    TOPICS.into_iter().flat_map(variants).for_each(|bytes| topic::check(&bytes));
}
