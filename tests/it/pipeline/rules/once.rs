//! What is one message and what are two: a message with `ts` is stored once however often it comes;
//! without it, each publication is a separate message.

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'a'), ('acme', 'b')";

#[test]
fn a_message_with_ts_is_stored_once_and_one_without_as_often_as_sent() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let time = sluice::clock::now().to_utc().to_rfc3339();
    let timed = |metric: u8| format!(r#"{{"ts":"{time}","metrics":{{"t":{metric}}}}}"#);
    let messages = [
        to("acme/device/a/timed", timed(1)),
        to("acme/device/a/timed", timed(1)),
        // Each differs from the first in one thing: content, type, device.
        to("acme/device/a/timed", timed(2)),
        to("acme/device/a/other", timed(1)),
        to("acme/device/b/timed", timed(1)),
        to("acme/device/a/untimed", "{}"),
        to("acme/device/a/untimed", "{}"),
    ];
    // Together, and then each alone once more.
    pipeline.send(&messages);
    pipeline.settle();
    for message in &messages {
        pipeline.send(std::slice::from_ref(message));
        pipeline.settle();
    }
    let rows = "SELECT device_id || ' ' || msg_type, count(*)::text FROM telemetry GROUP BY 1";
    assert_same(
        &pipeline.pairs(rows),
        &sorted([("a timed", "2"), ("a other", "1"), ("b timed", "1"), ("a untimed", "4")]),
    );
    let ends = ["stored", "duplicate", "quarantined"].map(|end| pipeline.ended(end));
    assert_eq!(ends, [8, 6, 0]);
    pipeline.assert_unharmed();
}

#[test]
fn duplicates_among_many_are_skipped_and_all_others_are_stored() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let now = sluice::clock::now().to_utc().timestamp();
    let message = |number: i64| {
        to("acme/device/a/telemetry", format!(r#"{{"ts":{},"seq":{number}}}"#, now - number % 5))
    };
    let first: Vec<_> = (0..1_500).map(message).collect();
    let second: Vec<_> = (1_000..2_500).map(message).collect();
    pipeline.send(&first);
    pipeline.send(&second);
    pipeline.settle();
    assert_eq!(
        pipeline.value("SELECT count(*) || ' ' || count(DISTINCT seq) FROM telemetry"),
        "2500 2500"
    );
    assert_eq!(["stored", "duplicate"].map(|end| pipeline.ended(end)), [2_500, 500]);
}
