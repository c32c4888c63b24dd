//! Rows the database will not take, brought past the parser on purpose: each harms only itself.

use sluice::domain::batch::{Batch, Receipt};
use sluice::domain::ports::Sink;
use sluice::domain::time::Timestamp;
use sluice::domain::token::TokenHash;

use super::{NOON, add_reading, add_report, at, good, harness};

#[tokio::test]
async fn each_poisoned_row_is_quarantined_and_all_its_neighbours_are_stored() {
    let harness = harness().await;
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let poisons: [&[u8]; 6] = [
        br#"{"a":"\u0000"}"#,
        br#"{"a":1e400000}"#,
        br#"{"a":"\ud800"}"#,
        b"{\"a\":\"\xff\"}",
        b"NaN",
        &deep,
    ];
    let mut batch = good(10);
    for (number, poison) in poisons.iter().enumerate() {
        add_reading(&mut batch, &format!("p{number}"), poison);
        add_reading(&mut batch, &format!("n{number}"), b"{}");
    }
    batch.tokens.push((10, TokenHash([1; 32])));
    let receipt = harness.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 16, duplicates: 0, rejected: 6 });
    assert_eq!((batch.readings.len(), batch.quarantined.len()), (16, 6));
    assert_eq!(
        harness.database.value("SELECT count(*) FROM telemetry WHERE device_id NOT LIKE 'p%'"),
        "16"
    );
    let rows = harness.database.query(
        "SELECT device_id, reason, substring(detail FROM 'SQLSTATE .....'), length(payload) > 2, token_sha256 IS NOT NULL
         FROM quarantine_events ORDER BY device_id",
    );
    let codes = ["22P05", "22003", "22P02", "22021", "22P02", "54001"];
    for (number, code) in codes.into_iter().enumerate() {
        let token = if number == 0 { "t" } else { "f" };
        let code = format!("SQLSTATE {code}");
        assert_eq!(rows[number], [&format!("p{number}"), "STORE_REJECTED", &code, "t", token]);
    }
    let counted =
        harness.database.query("SELECT tenant_id, reason, cnt FROM quarantine_counters_minute");
    assert_eq!(counted, [["acme", "STORE_REJECTED", "6"]]);
    assert_eq!(harness.metrics.store.poisoned_rows.get(), 6);
}

#[tokio::test]
async fn a_moment_postgres_cannot_keep_is_quarantined_not_stored_as_infinity() {
    let harness = harness().await;
    let mut batch = good(3);
    batch.readings[0].time = at(i64::MIN);
    batch.readings[2].time = at(i64::MAX);
    let receipt = harness.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 2, duplicates: 0, rejected: 1 });
    assert_eq!(harness.database.value("SELECT count(*) FROM telemetry WHERE isfinite(time)"), "2");
    assert_eq!(
        harness.database.value("SELECT count(*) FROM quarantine_events WHERE event_ts IS NULL"),
        "1"
    );
}

#[tokio::test]
async fn a_batch_of_nothing_but_poison_is_quarantined_whole() {
    let harness = harness().await;
    let mut batch = Batch::default();
    for number in 0..100 {
        add_reading(&mut batch, &format!("p{number}"), br#"{"a":"\u0000"}"#);
    }
    let receipt = harness.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 0, duplicates: 0, rejected: 100 });
    assert_eq!(harness.database.value("SELECT count(*) FROM quarantine_events"), "100");
}

#[tokio::test]
async fn a_poisoned_report_harms_no_other_report_and_no_reading() {
    let harness = harness().await;
    let mut batch = good(1);
    add_report(&mut batch, "d0", Some(1), br#"{"v":1}"#);
    add_report(&mut batch, "d0", Some(2), br#"{"v":"\u0000"}"#);
    add_report(&mut batch, "d1", Some(7), b"\xff");
    let receipt = harness.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 2, duplicates: 0, rejected: 2 });
    let state =
        harness.database.query("SELECT device_id, reported, reported_version FROM device_state");
    assert_eq!(state, [["d0", r#"{"v": 1}"#, "1"]]);
    assert_eq!(
        harness
            .database
            .value("SELECT count(*) FROM quarantine_events WHERE msg_type = 'shadow/reported'"),
        "2"
    );
}

#[tokio::test]
async fn a_violated_check_of_the_operators_own_is_the_rows_fault() {
    let harness = harness().await;
    harness.database.query("ALTER TABLE telemetry ADD CONSTRAINT small CHECK (seq < 10)");
    let mut batch = good(3);
    batch.readings[1].seq = Some(10);
    // A time of its own, other than that of its receipt.
    batch.readings[1].time = Timestamp::from_micros(NOON - 1_000_000);
    let receipt = harness.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 2, duplicates: 0, rejected: 1 });
    assert_eq!(
        harness
            .database
            .value("SELECT extract(epoch FROM event_ts)::bigint FROM quarantine_events"),
        (NOON / 1_000_000 - 1).to_string()
    );
}
