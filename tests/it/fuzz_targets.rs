//! The fuzz targets compile with the types of today and hold for a few inputs; `cargo fuzz` tries the
//! rest.

#[path = "../fuzz/src/frames.rs"]
mod frames;
#[path = "../fuzz/src/names.rs"]
mod names;
#[path = "../fuzz/src/payload.rs"]
mod payload;
#[path = "../fuzz/src/proof.rs"]
mod proof;
#[path = "../fuzz/src/topic.rs"]
mod topic;

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

const FRAMES: [&str; 4] = [
    r#"{"type":"ask","id":7,"kind":"password","client_id":"c","username":"u","secret":"s"}"#,
    r#"{"type":"closed","session":1,"why":"revoked"}"#,
    r#"{"type":"snapshot_part","devices":[{"id":"t/device/d","certificates":[]}]}"#,
    r#"{"type":"revoke","command":1,"target":{"by":"identity","of":"t/device/d"}}"#,
];

const NAMES: [&str; 5] = [
    "acme/device/pump-1",
    "acme/pump-1",
    "sluice-2-api",
    "tenant/{tenant}/+/#\u{0}tenant/$sluice/device/x",
    "+/#\u{0}$share/g/$SYS/broker/+",
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
    FRAMES.into_iter().flat_map(variants).for_each(|bytes| frames::check(&bytes));
    NAMES.into_iter().flat_map(variants).for_each(|bytes| names::check(&bytes));
    NAMES.into_iter().flat_map(variants).for_each(|bytes| proof::check(&bytes));
}
