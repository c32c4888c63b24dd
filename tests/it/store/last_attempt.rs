//! What an attempt without an answer left open: each state of the sink, and how the next attempt
//! leaves it. Events and counts have no key, so each test counts them.

use sluice::domain::batch::{Batch, Receipt};
use sluice::domain::ports::Sink;
use sluice::domain::quarantine_sampling::RefusalCount;
use sluice::domain::refusal::Reason;
use sluice::store::batch::sink::PgSink;
use tokio::task::JoinSet;

use super::dark::sink_through;
use super::mixed::{colourful, counts, refuse};
use super::{NOON, StoreHarness, add_ack, add_reading, at, good, harness};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;

/// From now on each COMMIT that touches the counts ends its own connection, and is rolled back.
const COMMIT_FAILS: &str = "CREATE FUNCTION end_connection() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER end_connection AFTER INSERT OR UPDATE ON quarantine_counters_minute
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION end_connection()";

const COMMIT_WORKS: &str = "DROP TRIGGER end_connection ON quarantine_counters_minute";

/// Sessions whose COMMIT is done and waits for a standby that does not exist.
const UNANSWERED: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Three readings, and an acknowledgement of an unknown command, which becomes an event.
fn with_event() -> Batch {
    let mut batch = good(3);
    add_ack(&mut batch, "d1", 1);
    batch
}

/// Adds `count` refused messages that are counted and not kept.
fn count_only(batch: &mut Batch, count: i64) {
    let (tenant, reason) = ("acme".into(), Reason::TokenInvalid);
    batch.refusal_counts.push(RefusalCount { minute: at(NOON), tenant, reason, count });
}

/// Fails an attempt after the outcome of the last one was read.
async fn fail_once(harness: &StoreHarness<'_>, sink: &mut PgSink, batch: &mut Batch) {
    harness.database.query("ALTER TABLE telemetry RENAME TO away");
    sink.commit(batch).await.unwrap_err();
    harness.database.query("ALTER TABLE away RENAME TO telemetry");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_an_unanswered_commit_wrote_are_not_added_again() {
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let mut batch = good(3);
    count_only(&mut batch, 5);
    let (statement, mut sink, mut batch) =
        harness.commit_and_lose_the_answer(harness.store.sink(), batch).await;
    assert_eq!(statement, "COMMIT");
    assert_eq!(counts(&harness), row(3, 0, 5));
    fail_once(&harness, &mut sink, &mut batch).await;
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 0, duplicates: 3, rejected: 0 });
    assert_eq!(counts(&harness), row(3, 0, 5));
    let mut next = good(4);
    count_only(&mut next, 2);
    sink.commit(&mut next).await.unwrap();
    assert_eq!(counts(&harness), row(4, 0, 7), "the counts of the next batch are added");
}

#[tokio::test]
async fn after_a_failure_the_safe_path_is_taken_once() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    let mut batch = good(2);
    fail_once(&harness, &mut sink, &mut batch).await;
    assert_eq!(sink.commit(&mut batch).await.unwrap().stored, 2);
    assert_eq!(harness.metrics.store.staged_batches.get(), 1);
    let mut next = Batch::default();
    add_reading(&mut next, "next", b"{}");
    assert_eq!(sink.commit(&mut next).await.unwrap().stored, 1);
    assert_eq!(harness.metrics.store.staged_batches.get(), 1);
}

#[tokio::test]
async fn a_commit_that_was_rolled_back_is_written_again() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    harness.database.query(COMMIT_FAILS);
    let mut batch = with_event();
    for _ in 0..2 {
        sink.commit(&mut batch).await.unwrap_err();
        assert_eq!(counts(&harness), row(0, 0, 0));
    }
    harness.database.query(COMMIT_WORKS);
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 3, duplicates: 0, rejected: 1 });
    assert_eq!(counts(&harness), row(3, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_still_in_progress_is_awaited_and_not_written_again() {
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let proxy = Proxy::to(server.port());
    let mut sink = sink_through(&harness, &proxy);
    harness.wait_for_a_standby();
    let mut commit = JoinSet::new();
    commit.spawn(async move {
        let mut batch = with_event();
        (sink.commit(&mut batch).await, sink, batch)
    });
    harness.database.wait_until(UNANSWERED, "1");
    proxy.cut();
    let (outcome, mut sink, mut batch) = commit.join_next().await.unwrap().unwrap();
    outcome.unwrap_err();
    for _ in 0..2 {
        let outage = sink.commit(&mut batch).await.unwrap_err();
        assert!(outage.0.contains("still in progress"), "{outage}");
    }
    harness.wait_for_no_standby();
    harness.database.wait_until(UNANSWERED, "0");
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 3, duplicates: 0, rejected: 1 });
    assert_eq!(counts(&harness), row(3, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_another_batch_says_nothing_about_this_one() {
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let (_, mut sink, _) =
        harness.commit_and_lose_the_answer(harness.store.sink(), with_event()).await;
    let mut other = Batch::default();
    for name in ["e0", "e1", "e2"] {
        add_reading(&mut other, name, br#"{"t":1}"#);
    }
    add_ack(&mut other, "e1", 1);
    let receipt = sink.commit(&mut other).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 3, duplicates: 0, rejected: 1 });
    assert_eq!(counts(&harness), row(6, 2, 2));
}

#[tokio::test]
async fn a_statement_that_never_arrived_is_written_by_the_next_attempt() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    sink.commit(&mut good(1)).await.unwrap();
    harness.database.query(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'sluice'",
    );
    let mut batch = colourful();
    sink.commit(&mut batch).await.unwrap_err();
    fail_once(&harness, &mut sink, &mut batch).await;
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 2, duplicates: 1, rejected: 0 });
    assert_eq!(counts(&harness), row(3, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_answer_was_lost_is_found_after_a_further_failure() {
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let (_, mut sink, mut batch) =
        harness.commit_and_lose_the_answer(harness.store.sink(), colourful()).await;
    fail_once(&harness, &mut sink, &mut batch).await;
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 0, duplicates: 3, rejected: 0 });
    assert_eq!(counts(&harness), row(3, 2, 2));
}

/// The statement is under way while the next attempt writes the batch. The COMMIT of that attempt
/// is rolled back, and only then the statement arrives and takes effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_statement_after_a_rolled_back_commit_is_not_written_again() {
    // A silent connection delays the creation and removal of other databases on its server.
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let proxy = Proxy::to(server.port());
    let mut sink = sink_through(&harness, &proxy);
    // The first statement of its kind is prepared first; the next is sent at once.
    let mut first = Batch::default();
    add_reading(&mut first, "another", b"{}");
    refuse(&mut first, b"another", None);
    sink.commit(&mut first).await.unwrap();
    proxy.darken();
    let mut batch = colourful();
    sink.commit(&mut batch).await.unwrap_err();
    harness.database.query(COMMIT_FAILS);
    sink.commit(&mut batch).await.unwrap_err();
    harness.database.query(COMMIT_WORKS);
    assert_eq!(counts(&harness), row(1, 1, 1));
    proxy.lighten();
    harness.database.wait_until("SELECT count(*) FROM telemetry", "4");
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 0, duplicates: 3, rejected: 0 });
    assert_eq!(counts(&harness), row(4, 3, 3));
}

/// Telemetry rows, events and the sum of the counts, as [`counts`] returns them.
fn row(telemetry: u32, events: u32, sum: u32) -> [String; 3] {
    [telemetry, events, sum].map(|number| number.to_string())
}
