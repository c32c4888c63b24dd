//! What is not the data's fault: nothing of the batch is stored, nothing is thrown out, and the
//! same batch tried again is stored once.

use sluice::domain::batch::{Batch, Receipt};
use sluice::domain::ports::Sink;
use sluice::store::connection::database::Database;
use sluice::telemetry::metrics::Metrics;

use super::{StoreHarness, add_ack, add_reading, good, harness, settings};
use crate::support::postgres::Postgres;

/// Three good readings, a poisoned one, and an acknowledgement of no command.
fn mixed() -> Batch {
    let mut batch = good(3);
    add_reading(&mut batch, "p", br#"{"a":"\u0000"}"#);
    add_ack(&mut batch, "d1", 1);
    batch
}

fn counts(harness: &StoreHarness<'_>) -> Vec<String> {
    let sql = "SELECT (SELECT count(*) FROM telemetry), (SELECT count(*) FROM quarantine_events),
        (SELECT coalesce(sum(cnt), 0) FROM quarantine_counters_minute)";
    harness.database.query(sql).swap_remove(0)
}

#[tokio::test]
async fn a_batch_whose_connection_was_killed_is_stored_once_when_tried_again() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    sink.commit(&mut good(1)).await.unwrap();
    harness.database.query(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'sluice'",
    );
    let mut batch = mixed();
    let outage = sink.commit(&mut batch).await.unwrap_err();
    assert!(!outage.0.contains("pass-of-the-tests"), "{outage}");
    assert_eq!(counts(&harness), ["1", "0", "0"]);
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 2, duplicates: 1, rejected: 2 });
    assert_eq!(counts(&harness), ["3", "2", "2"]);
}

#[tokio::test]
async fn rejections_of_a_failed_attempt_are_taken_back_and_recorded_once() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    harness.database.query("ALTER TABLE quarantine_counters_minute RENAME TO away");
    let mut batch = mixed();
    for _ in 0..3 {
        let outage = sink.commit(&mut batch).await.unwrap_err();
        assert!(outage.0.contains("sluice migrate"), "{outage}");
        assert_eq!(
            (batch.readings.len(), batch.command_acks.len(), batch.quarantined.len()),
            (4, 1, 0)
        );
        assert!(batch.refusal_counts.is_empty());
    }
    harness.database.query("ALTER TABLE away RENAME TO quarantine_counters_minute");
    assert_eq!(
        sink.commit(&mut batch).await.unwrap(),
        Receipt { stored: 3, duplicates: 0, rejected: 2 }
    );
    assert_eq!(counts(&harness), ["3", "2", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_not_written_again() {
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    // Nothing here needs the staging table: its making would be a commit, too, and would wait
    // first.
    let mut batch = good(3);
    add_ack(&mut batch, "d1", 1);
    let (said, mut sink, mut batch) =
        harness.commit_and_lose_the_answer(harness.store.sink(), batch).await;
    assert_eq!(said, "COMMIT");
    assert_eq!(counts(&harness), ["3", "1", "1"], "it was committed all the same");
    assert!(batch.quarantined.is_empty());
    assert_eq!(
        sink.commit(&mut batch).await.unwrap(),
        Receipt { stored: 3, duplicates: 0, rejected: 1 }
    );
    assert_eq!((batch.quarantined.len(), batch.refusal_counts.len()), (1, 1));
    assert_eq!(counts(&harness), ["3", "1", "1"]);
    let receipt = sink.commit(&mut good(4)).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 3, rejected: 0 });
}

#[tokio::test]
async fn what_an_operator_must_fix_is_reported_and_costs_no_row() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    let database = harness.database.name().to_owned();
    for (harm, advice, cure) in [
        (
            "DROP TABLE telemetry_late",
            "telemetry_late",
            "CREATE TABLE telemetry_late PARTITION OF telemetry DEFAULT; \
            ALTER TABLE telemetry_late OWNER TO sluice",
        ),
        (
            &format!(
                "ALTER ROLE sluice IN DATABASE {database} SET default_transaction_read_only = on"
            ),
            "read-only",
            &format!(
                "ALTER ROLE sluice IN DATABASE {database} RESET default_transaction_read_only"
            ),
        ),
        (
            "ALTER TABLE telemetry RENAME TO away",
            "sluice migrate",
            "ALTER TABLE away RENAME TO telemetry",
        ),
        (
            "ALTER TABLE telemetry OWNER TO postgres",
            "own its tables",
            "ALTER TABLE telemetry OWNER TO sluice",
        ),
    ] {
        harness.database.query(harm);
        let mut batch = good(2);
        let outage = sink.commit(&mut batch).await.unwrap_err();
        assert!(outage.0.contains(advice), "{outage}");
        assert_eq!((batch.readings.len(), batch.quarantined.len()), (2, 0));
        harness.database.query(cure);
    }
    assert_eq!(sink.commit(&mut good(2)).await.unwrap().stored, 2);
}

#[tokio::test]
async fn a_refused_login_and_an_absent_server_are_named_without_the_password() {
    let harness = harness().await;
    let url = harness.database.url();
    for (url, said) in [
        (url.replace("pass-of-the-tests", "wrong-secret"), "check the user and the password"),
        (url.replace("/test_", "/no_such_"), "create that database"),
        ("postgres://sluice:wrong-secret@127.0.0.1:1/x".to_owned(), "127.0.0.1:1"),
    ] {
        let store = Database::open(&settings(&url), Metrics::new().unwrap().store).unwrap();
        let outage = store.sink().commit(&mut good(1)).await.unwrap_err();
        assert!(outage.0.contains(said), "{outage}");
        assert!(!outage.0.contains("secret"), "{outage}");
    }
    let bad = Database::open(
        &settings("postgres://sluice:wrong-secret@[::1"),
        Metrics::new().unwrap().store,
    );
    let said = bad.unwrap_err().to_string();
    assert!(said.contains("DATABASE_URL") && !said.contains("secret"), "{said}");
}
