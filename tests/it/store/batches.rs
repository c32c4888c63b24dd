//! A batch that goes well: every column as it was given, and nothing twice.

use bytes::Bytes;
use sluice::domain::batch::{Batch, Quarantined, Receipt, RejectedFields, Suspect};
use sluice::domain::message::Site;
use sluice::domain::ports::Sink;
use sluice::domain::quarantine_sampling::RefusalCount;
use sluice::domain::refusal::{Reason, Refusal};
use sluice::domain::token::TokenHash;
use sluice::store::connection::database::Database;
use sluice::telemetry::metrics::Metrics;

use super::{NOON, add_ack, add_reading, at, deliver, device, good, harness, settings};

/// 0001-01-01 and 9999-12-31T23:59:59.999999, in microseconds.
const EXTREMES: [i64; 2] = [-62_135_596_800_000_000, 253_402_300_799_999_999];

#[tokio::test]
async fn every_column_of_telemetry_is_kept_as_it_was_given() {
    let harness = harness().await;
    let mut batch = good(4);
    let full = &mut batch.readings[1];
    full.time = at(EXTREMES[0]);
    full.received_at = at(NOON + 1);
    full.site = Some(Site::Registered("Zürich ☃".into()));
    full.msg_type = Bytes::from_static(b"telemetry/fast");
    full.seq = Some(i64::MAX);
    full.metrics = Bytes::from_static(
        br#"{"n": 12345678901234567890.123456789, "s": "\u00e9", "a": [1, null]}"#,
    );
    full.extra = Some(Bytes::from_static(br#"{"fw": "1.2"}"#));
    batch.readings[2].time = at(EXTREMES[1]);
    batch.readings[2].seq = Some(0);
    let ids: Vec<String> = batch.readings.iter().map(|row| row.message_id.to_string()).collect();
    let receipt = harness.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 4, ..Receipt::default() });
    let rows = harness.database.query(
        "SELECT device_id, (extract(epoch FROM time) * 1000000)::numeric(30, 0),
            (extract(epoch FROM received_at) * 1000000)::numeric(30, 0), tenant_id, site_id, msg_type, seq, metrics, extra,
            message_id FROM telemetry ORDER BY device_id",
    );
    let (noon, metrics) = (NOON.to_string(), r#"{"t": 1}"#);
    let plain = |name: &'static str, time: i64, seq: &'static str, id: &str| {
        let time = time.to_string();
        [name, &time, &noon, "acme", "NULL", "telemetry", seq, metrics, "NULL", id]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(rows[0], plain("d0", NOON, "NULL", &ids[0]));
    assert_eq!(rows[2], plain("d2", EXTREMES[1], "0", &ids[2]));
    assert_eq!(rows[3], plain("d3", NOON, "NULL", &ids[3]));
    let numbers = r#"{"a": [1, null], "n": 12345678901234567890.123456789, "s": "é"}"#;
    let (first, received) = (EXTREMES[0].to_string(), (NOON + 1).to_string());
    let seq = i64::MAX.to_string();
    let full = [
        "d1",
        &first,
        &received,
        "acme",
        "Zürich ☃",
        "telemetry/fast",
        &seq,
        numbers,
        r#"{"fw": "1.2"}"#,
        &ids[1],
    ];
    assert_eq!(rows[1], full);
}

#[tokio::test]
async fn a_refused_message_that_is_delivered_again_is_kept_and_counted_once() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    let batch = |dup: bool, event_time: Option<i64>, payload: &'static [u8]| {
        let mut batch = Batch { maybe_repeated: true, ..Batch::default() };
        let origin = deliver(&mut batch, &device("d1"), "telemetry", payload);
        batch.deliveries[origin].dup = dup;
        let told = RejectedFields { event_time: event_time.map(at), ..RejectedFields::default() };
        let refusal = Refusal::new(Reason::TokenInvalid, "no");
        if dup && event_time.is_some() {
            batch.suspects.push(Suspect { origin, refusal, fields: told });
            return batch;
        }
        batch.quarantined.push(Quarantined::new(&batch.deliveries[origin], refusal, told, 1_000));
        let (tenant, reason) = ("acme".into(), Reason::TokenInvalid);
        batch.refusal_counts.push(RefusalCount { minute: at(NOON), tenant, reason, count: 1 });
        batch
    };
    let mut known = 0;
    for (dup, time, payload) in [
        (false, Some(NOON), &b"timed"[..]),
        (true, Some(NOON), b"timed"),
        (true, Some(NOON), b"another"),
        (false, None, b"plain"),
        // Without a time it may as well be a message that says the same again.
        (true, None, b"plain"),
    ] {
        let mut batch = batch(dup, time, payload);
        sink.commit(&mut batch).await.unwrap();
        known += batch.known_duplicates;
    }
    assert_eq!(known, 1);
    let kept = "SELECT payload, count(*) FROM quarantine_events GROUP BY 1 ORDER BY 1";
    let kept: Vec<String> =
        harness.database.query(kept).into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(kept, ["1", "2", "1"], "another, plain, timed");
    assert_eq!(harness.database.query("SELECT sum(cnt) FROM quarantine_counters_minute"), [["4"]]);
}

#[tokio::test]
async fn a_rehearsal_says_what_would_come_true_and_leaves_nothing() {
    let harness = harness().await;
    let mut batch = good(2);
    add_ack(&mut batch, "d1", 1);
    let receipt = harness.store.rehearsal().commit(&mut batch).await.unwrap();
    assert_eq!((receipt.stored, receipt.rejected), (2, 1));
    for table in ["telemetry", "quarantine_events", "quarantine_counters_minute", "device_state"] {
        assert_eq!(
            harness.database.query(&format!("SELECT count(*) FROM {table}")),
            [["0"]],
            "{table}"
        );
    }
}

#[tokio::test]
async fn every_column_of_quarantine_is_kept_and_the_counters_add_up() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    for _ in 0..2 {
        let mut batch = Batch::default();
        let origin = deliver(&mut batch, &device("d1"), "telemetry", b"\x00\xffnot json");
        let told = RejectedFields {
            event_time: Some(at(NOON)),
            site: Some("a\0b".into()),
            token: Some(TokenHash([0xab; 32])),
        };
        let refusal = Refusal::new(Reason::TokenInvalid, "no\0pe");
        batch.quarantined.push(Quarantined::new(&batch.deliveries[origin], refusal, told, 1_000));
        batch.deliveries[origin].topic = Bytes::from_static(b"no\0\xfftopic");
        let told = RejectedFields { event_time: Some(at(i64::MIN)), ..RejectedFields::default() };
        let refusal = Refusal::new(Reason::BadTopicFormat, "what");
        batch.quarantined.push(Quarantined::new(&batch.deliveries[origin], refusal, told, 1_000));
        for (tenant, reason, count) in [
            ("acme", Reason::TokenInvalid, 5),
            ("acme", Reason::TokenInvalid, 1),
            ("", Reason::BadTopicFormat, 1),
        ] {
            batch.refusal_counts.push(RefusalCount {
                minute: at(NOON),
                tenant: tenant.into(),
                reason,
                count,
            });
        }
        assert_eq!(sink.commit(&mut batch).await.unwrap(), Receipt::default());
    }
    let rows = harness.database.query(
        "SELECT extract(epoch FROM received_at)::bigint * 1000000, extract(epoch FROM event_ts)::bigint * 1000000,
            topic, tenant_id, device_id, site_id, msg_type, detail, payload, token_sha256, replayed_at
         FROM quarantine_events WHERE quarantined_at > now() - interval '1 hour' AND id <> message_id ORDER BY reason, id",
    );
    let noon = NOON.to_string();
    assert_eq!(rows.len(), 4);
    let bad_topic = ["NULL", "no\u{fffd}\u{fffd}topic", "NULL", "NULL", "NULL", "NULL", "what"];
    assert_eq!(rows[0][1..8], bad_topic);
    let token = "ab".repeat(32);
    assert_eq!(
        rows[2],
        [
            &noon,
            &noon,
            "tenant/acme/device/d1/telemetry",
            "acme",
            "d1",
            "a\u{fffd}b",
            "telemetry",
            "no\u{fffd}pe",
            "\\x00ff6e6f74206a736f6e",
            &token,
            "NULL"
        ]
    );
    let counts = harness
        .database
        .query("SELECT tenant_id, reason, cnt FROM quarantine_counters_minute ORDER BY tenant_id");
    assert_eq!(counts, [["", "BAD_TOPIC_FORMAT", "2"], ["acme", "TOKEN_INVALID", "12"]]);
}

#[tokio::test]
async fn nothing_to_write_asks_nothing_of_postgres() {
    let store = Database::open(
        &settings("postgres://nobody@127.0.0.1:1/nowhere"),
        Metrics::new().unwrap().store,
    )
    .unwrap();
    let mut batch = Batch { ignored: 3, known_duplicates: 1, ..Batch::default() };
    assert_eq!(store.sink().commit(&mut batch).await, Ok(Receipt::default()));
}

#[tokio::test]
async fn a_message_is_stored_once_within_a_batch_and_across_batches() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    let mut twice = good(3);
    add_reading(&mut twice, "d1", br#"{"t":1}"#);
    let receipt = sink.commit(&mut twice).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 3, duplicates: 1, rejected: 0 });
    let receipt = sink.commit(&mut good(4)).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 3, rejected: 0 });
    let receipt = sink.commit(&mut Batch { maybe_repeated: true, ..good(5) }).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 4, rejected: 0 });
    assert_eq!(harness.database.value("SELECT count(*) FROM telemetry"), "5");
    assert_eq!(harness.metrics.store.staged_batches.get(), 3);
}

#[tokio::test]
async fn two_writers_with_the_same_messages_in_opposite_order_store_each_once() {
    let harness = harness().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..2 {
        let mut sink = harness.store.sink();
        tasks.spawn(async move {
            let mut stored = 0;
            for _ in 0..20 {
                let mut batch = Batch { maybe_repeated: true, ..good(200) };
                if writer == 1 {
                    batch.readings.reverse();
                }
                stored += sink.commit(&mut batch).await.unwrap().stored;
            }
            stored
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<u64>(), 200);
    assert_eq!(harness.database.value("SELECT count(*) FROM telemetry"), "200");
}
