//! The outbox of links: rows in the transaction of the batch, what the sender reads, and what is
//! counted.

use std::time::Duration;

use bytes::Bytes;
use sluice::domain::batch::Batch;
use sluice::domain::link::{Forward, ForwardMode, LinkName};
use sluice::domain::outbox::{DeadLetterCause, DeadLetterReason, QueuedForward};
use sluice::domain::ports::Sink;
use sluice::store::batch::sink::PgSink;
use sluice::store::links::outbox::LinkOutbox;

use super::{NOON, StoreHarness, add_ack, add_reading, add_report, at, harness};
use crate::support::postgres::Postgres;

/// More than any test queues.
pub(super) const AMPLE: u64 = 1 << 20;

pub(super) fn link(name: &str) -> LinkName {
    name.parse().unwrap()
}

/// Forwards the message that was added last over this link.
pub(super) fn forward(batch: &mut Batch, name: &str, max_bytes: u64) {
    let origin = batch.deliveries.len() - 1;
    let delivery = &batch.deliveries[origin];
    let is_refillable = batch.readings.last().is_some_and(|row| row.origin == origin);
    let (_, sender) = batch.sender(origin).unwrap();
    batch.forwards.push(Forward {
        origin,
        link: link(name),
        lane: 0,
        topic: format!("up/{sender}"),
        tenant: "acme".into(),
        device: sender.into(),
        mode: ForwardMode::Binary,
        msg_type: Bytes::from_static(b"telemetry"),
        payload: delivery.payload.clone(),
        time: at(NOON),
        received_at: delivery.received_at,
        message_id: delivery.message_id(),
        via: vec!["a".into(), "b".into()],
        is_refillable,
        backlog_max_bytes: max_bytes,
    });
}

/// A batch of readings of device `d`, each with its number, forwarded over `azure`.
pub(super) fn numbered(numbers: std::ops::Range<i64>, max_bytes: u64) -> Batch {
    let mut batch = Batch::default();
    for number in numbers {
        add_reading(&mut batch, "d", format!(r#"{{"n": {number}}}"#).as_bytes());
        let received_at = at(NOON + number);
        let origin = batch.deliveries.len() - 1;
        batch.deliveries[origin].received_at = received_at;
        let reading = batch.readings.last_mut().unwrap();
        (reading.received_at, reading.time) = (received_at, received_at);
        forward(&mut batch, "azure", max_bytes);
    }
    batch
}

pub(super) fn sink(it: &StoreHarness<'_>) -> PgSink {
    it.store.sink().of_client("replica-1")
}

pub(super) async fn sender(it: &StoreHarness<'_>) -> LinkOutbox {
    let mut outbox = LinkOutbox::open(&it.store, link("azure")).await.unwrap();
    assert!(outbox.claim().await.unwrap());
    outbox
}

pub(super) fn payloads(rows: &[QueuedForward]) -> Vec<&str> {
    rows.iter().map(|row| std::str::from_utf8(&row.payload).unwrap()).collect()
}

fn ids(rows: &[QueuedForward]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

/// The counts agree with the rows.
pub(super) fn check_counts(it: &StoreHarness<'_>) {
    let sums = "SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0) FROM link_counts";
    let rows = "SELECT count(*), coalesce(sum(octet_length(payload) + octet_length(topic) + 100), 0) FROM link_outbox";
    assert_eq!(it.database.query(sums), it.database.query(rows));
}

#[tokio::test]
async fn a_small_batch_a_large_one_and_one_of_all_kinds_reach_the_outbox_in_order() {
    let it = harness().await;
    let mut sink = sink(&it);
    sink.commit(&mut numbered(0..3, AMPLE)).await.unwrap();
    sink.commit(&mut numbered(3..200, AMPLE)).await.unwrap();
    let mut batch = numbered(200..201, AMPLE);
    add_report(&mut batch, "d", Some(1), br#"{"n": 201}"#);
    forward(&mut batch, "azure", AMPLE);
    add_report(&mut batch, "d", Some(1), br#"{"n": 202}"#);
    forward(&mut batch, "azure", AMPLE);
    add_ack(&mut batch, "d", 7);
    forward(&mut batch, "azure", AMPLE);
    sink.commit(&mut batch).await.unwrap();
    let mut outbox = sender(&it).await;
    let rows = outbox.next(0, &[], 1000).await.unwrap();
    let mut expected: Vec<String> = (0..201).map(|n| format!(r#"{{"n": {n}}}"#)).collect();
    expected.push(r#"{"n": 202}"#.to_owned());
    assert_eq!(payloads(&rows), expected, "the superseded report and the unknown command are not");
    assert_eq!(rows[0].via, ["a".into(), "b".into()]);
    assert_eq!((&*rows[0].tenant, &*rows[0].device, rows[0].topic.as_str()), ("acme", "d", "up/d"));
    assert_eq!(rows[5].received_at, at(NOON + 5));
    let backlog = outbox.backlog(1).await.unwrap();
    assert_eq!((backlog.messages, backlog.oldest), (202, Some(at(NOON))));
    check_counts(&it);
    outbox.finish(0, &ids(&rows[..200])).await.unwrap();
    check_counts(&it);
    assert_eq!(outbox.backlog(1).await.unwrap().messages, 2);
    let again = outbox.next(0, &[], 10).await.unwrap();
    assert_eq!(ids(&again), ids(&rows[200..]), "after a reconnect the oldest come first");
    assert!(outbox.next(0, &ids(&again), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_stored_already_or_refused_is_not_forwarded_again() {
    let it = harness().await;
    let mut sink = sink(&it);
    sink.commit(&mut numbered(0..3, AMPLE)).await.unwrap();
    let mut batch = numbered(1..5, AMPLE);
    batch.readings[3].metrics = Bytes::from_static(br#"{"n": "\u0000"}"#);
    sink.commit(&mut batch).await.unwrap();
    assert_eq!(batch.quarantined.len(), 1, "Postgres refuses NUL in jsonb");
    let mut outbox = sender(&it).await;
    let rows = outbox.next(0, &[], 10).await.unwrap();
    let expected: Vec<String> = (0..4).map(|n| format!(r#"{{"n": {n}}}"#)).collect();
    assert_eq!(payloads(&rows), expected);
    check_counts(&it);
}

#[tokio::test]
async fn a_rehearsal_queues_nothing() {
    let it = harness().await;
    let receipt = it.store.rehearsal().commit(&mut numbered(0..3, AMPLE)).await.unwrap();
    assert_eq!(receipt.stored, 3);
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), "0");
}

#[tokio::test]
async fn one_replica_is_the_sender_until_its_connection_ends() {
    let it = harness().await;
    let first = sender(&it).await;
    let mut second = LinkOutbox::open(&it.store, link("azure")).await.unwrap();
    assert!(!second.claim().await.unwrap());
    let mut other = LinkOutbox::open(&it.store, link("aws")).await.unwrap();
    assert!(other.claim().await.unwrap(), "each link has a lock of its own");
    drop(first);
    // Each claim also shows Postgres that the connection is not idle.
    let taking_over = async {
        while !second.claim().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), taking_over).await.unwrap();
}

#[tokio::test]
async fn a_refused_and_an_expired_message_become_dead_letters() {
    let it = harness().await;
    sink(&it).commit(&mut numbered(0..4, AMPLE)).await.unwrap();
    let mut outbox = sender(&it).await;
    let rows = outbox.next(0, &[], 10).await.unwrap();
    let reason = DeadLetterReason {
        reason: DeadLetterCause::NotAuthorized,
        code: Some(0x87),
        detail: "not\0authorized".to_owned(),
    };
    assert!(outbox.dead_letter(0, rows[2].id, &reason).await.unwrap());
    assert!(!outbox.dead_letter(0, rows[2].id, &reason).await.unwrap(), "it is gone");
    // A message that is read back or sent again was received long ago: its wait begins in the outbox.
    assert_eq!(outbox.expire(at(NOON + 2), 4).await.unwrap(), []);
    it.database.query("UPDATE link_outbox SET queued_at = received_at");
    let expired = outbox.expire(at(NOON + 2), 4).await.unwrap();
    assert_eq!(expired, [(0, rows[0].id), (0, rows[1].id)]);
    assert_eq!(
        it.database.value(
            "SELECT string_agg(concat_ws(' ', reason, code, convert_from(payload, 'UTF8')), ', ' ORDER BY id)
             FROM link_refused"
        ),
        r#"EXPIRED {"n": 0}, EXPIRED {"n": 1}, NOT_AUTHORIZED 135 {"n": 2}"#
    );
    check_counts(&it);
    assert_eq!(payloads(&outbox.next(0, &[], 10).await.unwrap()), [r#"{"n": 3}"#]);
}

#[tokio::test]
async fn a_row_that_commits_late_is_found_below_those_that_were_read() {
    let it = harness().await;
    sink(&it).commit(&mut numbered(0..4, AMPLE)).await.unwrap();
    let mut outbox = sender(&it).await;
    let late = it.database.value("DELETE FROM link_outbox WHERE payload LIKE '%1%' RETURNING id");
    let rows = outbox.next(0, &[], 10).await.unwrap();
    assert_eq!(rows.len(), 3);
    it.database.query(&format!(
        "INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id, id)
         OVERRIDING SYSTEM VALUE VALUES ('azure', 0, 't', 'd', 'm', 'x', 'raw', '', now(), now(), gen_random_uuid(), {late})"
    ));
    let mut found = Vec::new();
    for _ in 0..30 {
        found.extend(outbox.next(0, &[ids(&rows), ids(&found)].concat(), 10).await.unwrap());
    }
    assert_eq!(ids(&found), [late.parse::<i64>().unwrap()]);
}

#[tokio::test]
async fn the_short_way_ends_at_the_gap_of_another_replica_and_at_the_bound() {
    let it = harness().await;
    // The short way needs a row of the replica; without it the general way is taken for some batches.
    it.database.query("INSERT INTO link_counts (link, writer) VALUES ('azure', 'replica-1')");
    let mut short = sink(&it);
    for number in 0..3 {
        short.commit(&mut numbered(number..number + 1, AMPLE)).await.unwrap();
    }
    let queued = "SELECT count(*) FROM link_outbox";
    assert_eq!(it.database.value(queued), "3");
    check_counts(&it);
    it.database.query(
        "INSERT INTO link_gaps (link, writer, from_at, messages) VALUES ('azure', 'replica-2', now(), 1)",
    );
    let receipt = short.commit(&mut numbered(3..4, AMPLE)).await.unwrap();
    assert_eq!((receipt.stored, it.database.value(queued)), (1, "3".to_owned()));
    let own = "SELECT messages FROM link_gaps WHERE writer = 'replica-1'";
    assert_eq!(it.database.value(own), "1", "nothing overtakes what is in a gap");
    check_counts(&it);
    it.database.query("DELETE FROM link_gaps");
    // A new connection tries the short way at once; 300 bytes are fewer than wait already.
    let receipt = sink(&it).commit(&mut numbered(4..5, 300)).await.unwrap();
    assert_eq!((receipt.stored, it.database.value(queued)), (1, "3".to_owned()));
    assert_eq!(it.database.value(own), "1", "the backlog is full");
    check_counts(&it);
}

#[tokio::test]
async fn under_an_old_snapshot_no_head_is_looked_for_among_deleted_rows() {
    const ROWS: i64 = 600;
    const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sluice'";
    // A server of its own: the floor of the sender waits for every transaction of the server.
    let server = Postgres::private();
    let it = StoreHarness::on(&server).await;
    let mut snapshot = it.store.pool().begin().await.unwrap();
    for statement in
        ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM link_outbox"]
    {
        sqlx::query(statement).execute(&mut *snapshot).await.unwrap();
    }
    let mut sink = sink(&it);
    let mut outbox = sender(&it).await;
    for number in 0..3 {
        sink.commit(&mut numbered(number * ROWS..(number + 1) * ROWS, AMPLE)).await.unwrap();
        let rows = outbox.next(0, &[], 1000).await.unwrap();
        outbox.finish(0, &ids(&rows)).await.unwrap();
    }
    // A connection that ends shows what it has read; one that is idle shows it at a later moment.
    let open: u32 = it.database.value(CONNECTIONS).parse().unwrap();
    drop(sink);
    let closing = async {
        while it.database.value(CONNECTIONS).parse::<u32>().unwrap() >= open {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), closing).await.unwrap();
    let reads = || -> (u64, u64) {
        let row = it.database.query(
            "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'link_outbox_pkey'",
        );
        let number = |place: usize| row[0][place].parse().unwrap();
        (number(0), number(1))
    };
    // Postgres shows what a connection has read from time to time: first what was read until here.
    let (mut shown, mut each) = (reads(), u64::MAX);
    for _ in 0..2 {
        let searching = async {
            loop {
                outbox.backlog(1).await.unwrap();
                outbox.expire(at(NOON), 1).await.unwrap();
                let now = reads();
                if now.0 > shown.0 {
                    each = (now.1 - shown.1) / (now.0 - shown.0);
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        shown = tokio::time::timeout(Duration::from_mins(1), searching).await.unwrap();
    }
    assert!(each <= u64::try_from(ROWS).unwrap() + 10, "{each} entries in each search");
}
