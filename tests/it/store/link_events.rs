//! Events that came over links: an identity is one row, at any time and however often it is delivered.

use std::thread;

use bytes::Bytes;
use sluice::domain::batch::Batch;
use sluice::domain::link::{LinkArrival, event_identity};
use sluice::domain::ports::Sink;

use super::link_outbox::{AMPLE, forward};
use super::{NOON, StoreHarness, add_reading, at, good, harness};
use crate::support::postgres::Postgres;

/// Adds an event that arrives at this second and has no time of its own.
fn add_event(batch: &mut Batch, device: &str, id: &str, second: i64) {
    add_reading(batch, device, br#"{"t": 1}"#);
    let received_at = at(NOON + second * 1_000_000);
    let message_id = event_identity("/plant", id);
    let link = "cloud".parse().unwrap();
    let reading = batch.readings.last_mut().unwrap();
    (reading.received_at, reading.time) = (received_at, received_at);
    (reading.message_id, reading.link) = (message_id, Some(link));
    let arrival = LinkArrival {
        link: "cloud".parse().unwrap(),
        event_time: None,
        message_id: Some(message_id),
        via: Vec::new(),
        is_ignored: false,
        refusal: None,
    };
    let delivery = batch.deliveries.last_mut().unwrap();
    (delivery.received_at, delivery.arrival) = (received_at, Some(Box::new(arrival)));
}

fn event(device: &str, id: &str, second: i64) -> Batch {
    let mut batch = Batch::default();
    add_event(&mut batch, device, id, second);
    batch
}

fn stored(it: &StoreHarness<'_>) -> String {
    it.database.value("SELECT count(*) FROM telemetry")
}

fn noted(it: &StoreHarness<'_>) -> String {
    it.database.value("SELECT count(*) FROM link_event_ids")
}

#[tokio::test]
async fn an_event_is_stored_once_for_each_device_and_forwarded_once() {
    let it = harness().await;
    it.store.sink().commit(&mut event("d0", "1", 0)).await.unwrap();
    assert_eq!(it.database.value("SELECT link FROM telemetry"), "cloud");
    let mut batch = good(2);
    let mut add = |device: &str, id: &str, second: i64| {
        add_event(&mut batch, device, id, second);
        forward(&mut batch, "azure", AMPLE);
    };
    add("d0", "1", 5);
    add("d0", "2", 6);
    add("d0", "2", 7);
    add("d1", "1", 8);
    it.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(batch.known_duplicates, 2);
    let rows = "SELECT string_agg(device_id || '@' || extract(second FROM received_at)::int, ' ' \
                ORDER BY received_at) FROM telemetry WHERE link = 'cloud'";
    assert_eq!(it.database.value(rows), "d0@0 d0@6 d1@8");
    assert_eq!((stored(&it), noted(&it)), ("5".to_owned(), "3".to_owned()));
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), "2");
}

#[tokio::test]
async fn a_rehearsal_notes_nothing_and_an_event_that_postgres_refuses_may_come_again() {
    let it = harness().await;
    it.store.rehearsal().commit(&mut event("d0", "1", 0)).await.unwrap();
    let mut poisoned = event("d0", "1", 1);
    poisoned.readings[0].metrics = Bytes::from_static(br#"{"t": "\u0000"}"#);
    let receipt = it.store.sink().commit(&mut poisoned).await.unwrap();
    assert_eq!((receipt.rejected, receipt.stored), (1, 0));
    assert_eq!(it.database.value("SELECT link FROM quarantine_events"), "cloud");
    assert_eq!(noted(&it), "0");
    it.store.sink().commit(&mut event("d0", "1", 2)).await.unwrap();
    assert_eq!((stored(&it), noted(&it)), ("1".to_owned(), "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_another_replica_stores_meanwhile_is_found_at_the_next_attempt() {
    let it = harness().await;
    let id = event_identity("/plant", "1");
    let mut sink = it.store.sink();
    let mut batch = event("d0", "1", 0);
    let other = format!(
        "BEGIN; INSERT INTO link_event_ids VALUES ('acme', 'd0', '{id}'); SELECT pg_sleep(2); COMMIT"
    );
    thread::scope(|scope| {
        scope.spawn(|| it.database.query(&other));
        let open = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid()";
        it.database.wait_until(open, "1");
        tokio::task::block_in_place(|| {
            let runtime = tokio::runtime::Handle::current();
            runtime.block_on(sink.commit(&mut batch)).unwrap_err();
        });
    });
    assert_eq!(stored(&it), "0");
    sink.commit(&mut batch).await.unwrap();
    assert_eq!((stored(&it), batch.known_duplicates), ("0".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_commit_was_not_answered_is_stored_once() {
    let server = Postgres::private();
    let it = StoreHarness::on(&server).await;
    let batch = event("d0", "1", 0);
    let (_, mut sink, mut batch) = it.commit_and_lose_the_answer(it.store.sink(), batch).await;
    sink.commit(&mut batch).await.unwrap();
    assert_eq!((stored(&it), noted(&it)), ("1".to_owned(), "1".to_owned()));
}
