//! A small batch with refused messages, which is one statement: it leaves what several would, also
//! when its answer is lost.

use std::time::Duration;

use bytes::Bytes;
use sluice::domain::batch::{Batch, Quarantined, Receipt, RejectedFields};
use sluice::domain::message::Site;
use sluice::domain::ports::Sink;
use sluice::domain::quarantine_sampling::RefusalCount;
use sluice::domain::refusal::{Reason, Refusal};
use sluice::domain::token::TokenHash;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{NOON, StoreHarness, add_reading, at, deliver, device, good, harness};
use crate::faults::lock::Lock;
use crate::support::postgres::Postgres;

/// How it begins.
const ONE_STATEMENT: &str = "WITH refused";

/// Readings with and without everything, and refused messages of every kind of bytes.
pub(super) fn colourful() -> Batch {
    let mut batch = good(3);
    let full = &mut batch.readings[1];
    full.site = Some(Site::Reported(Bytes::from("Zürich ☃")));
    full.msg_type = Bytes::from_static(b"telemetry/fast");
    full.seq = Some(i64::MAX);
    full.metrics = Bytes::from_static(
        br#"{"n": 12345678901234567890.123456789, "s": "\u00e9", "a": [1, null]}"#,
    );
    full.extra = Some(Bytes::from_static(br#"{"fw": "1.2"}"#));
    refuse(&mut batch, b"\x00\xffnot json", Some("a\0b"));
    refuse(&mut batch, b"{}", None);
    batch
}

pub(super) fn refuse(batch: &mut Batch, payload: &[u8], site: Option<&str>) {
    let origin = deliver(batch, &device("d1"), "telemetry", payload);
    let token = site.map(|_| TokenHash([0xab; 32]));
    let told =
        RejectedFields { event_time: site.map(|_| at(NOON)), site: site.map(Into::into), token };
    let refusal = Refusal::new(Reason::TokenInvalid, "no\0pe");
    batch.quarantined.push(Quarantined::new(&batch.deliveries[origin], refusal, told, 1_000));
    let (tenant, reason) = ("acme".into(), Reason::TokenInvalid);
    batch.refusal_counts.push(RefusalCount { minute: at(NOON), tenant, reason, count: 1 });
}

/// All there is, but for the identifiers and moments that Postgres and chance decide.
fn all_rows(harness: &StoreHarness<'_>) -> Vec<Vec<String>> {
    let telemetry = "SELECT t::text FROM telemetry t ORDER BY 1";
    let events =
        "SELECT (to_jsonb(q) - 'id' - 'quarantined_at')::text FROM quarantine_events q ORDER BY 1";
    let counts = "SELECT c::text FROM quarantine_counters_minute c ORDER BY 1";
    [telemetry, events, counts].into_iter().flat_map(|sql| harness.database.query(sql)).collect()
}

pub(super) fn counts(harness: &StoreHarness<'_>) -> Vec<String> {
    let sql = "SELECT (SELECT count(*) FROM telemetry), (SELECT count(*) FROM quarantine_events),
        (SELECT coalesce(sum(cnt), 0) FROM quarantine_counters_minute)";
    harness.database.query(sql).swap_remove(0)
}

/// Whether the last thing the sink said was the one statement.
fn was_one_statement(harness: &StoreHarness<'_>) -> bool {
    let said = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND starts_with(query, '{}')";
    harness.database.value(&said.replace("{}", ONE_STATEMENT)) == "1"
}

#[tokio::test]
async fn one_statement_leaves_what_several_would() {
    let (at_once, one_by_one) = (harness().await, harness().await);
    let mut sink = at_once.store.sink();
    let receipt = sink.commit(&mut colourful()).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 3, ..Receipt::default() });
    assert!(was_one_statement(&at_once));
    let mut batch = Batch { maybe_repeated: true, ..colourful() };
    assert_eq!(one_by_one.store.sink().commit(&mut batch).await.unwrap(), receipt);
    assert!(!was_one_statement(&one_by_one));
    let rows = all_rows(&at_once);
    assert_eq!(rows, all_rows(&one_by_one));
    assert_eq!(rows.len(), 3 + 2 + 1);
}

#[tokio::test]
async fn a_row_that_the_database_refuses_or_has_already_harms_only_itself() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    let mut batch = colourful();
    add_reading(&mut batch, "p", br#"{"a":"\u0000"}"#);
    assert_eq!(
        sink.commit(&mut batch).await.unwrap(),
        Receipt { stored: 3, duplicates: 0, rejected: 1 }
    );
    assert_eq!(counts(&harness), ["3", "3", "3"]);
    let mut batch = good(4);
    refuse(&mut batch, b"later", None);
    assert_eq!(
        sink.commit(&mut batch).await.unwrap(),
        Receipt { stored: 1, duplicates: 3, rejected: 0 }
    );
    assert_eq!(counts(&harness), ["4", "4", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_answer_was_lost_is_not_written_again() {
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let (said, mut sink, mut batch) =
        harness.commit_and_lose_the_answer(harness.store.sink(), colourful()).await;
    assert!(said.starts_with(ONE_STATEMENT), "{said}");
    assert_eq!(counts(&harness), ["3", "2", "2"], "it was committed all the same");
    assert_eq!(
        sink.commit(&mut batch).await.unwrap(),
        Receipt { stored: 0, duplicates: 3, rejected: 0 }
    );
    assert_eq!(counts(&harness), ["3", "2", "2"]);
    let mut next = good(4);
    refuse(&mut next, b"next", None);
    sink.commit(&mut next).await.unwrap();
    assert_eq!(counts(&harness), ["4", "3", "3"], "the next batch is not taken for it");
}

/// The client is gone, the server is still at work: whichever of the two attempts comes first, one
/// of them counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_still_at_work_and_the_next_attempt_store_it_once() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    // The first of its kind is prepared, for which its client must stay; the next is in the socket
    // whole.
    let mut first = Batch::default();
    add_reading(&mut first, "another", b"{}");
    refuse(&mut first, b"another", None);
    sink.commit(&mut first).await.unwrap();
    let lock = Lock::on(&harness.database, "telemetry");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut batch = colourful();
    {
        let mut commit = Box::pin(sink.commit(&mut batch));
        while harness.database.value(waiting) == "0" {
            tokio::select! {
                outcome = &mut commit => panic!("nothing held it up: {outcome:?}"),
                () = sleep(Duration::from_millis(10)) => {}
            }
        }
    }
    assert!(was_one_statement(&harness), "it is left at work");
    let mut commit = JoinSet::new();
    commit.spawn(async move { (sink.commit(&mut batch).await, sink) });
    harness.database.wait_until(waiting, "2");
    drop(lock);
    let (outcome, mut sink) = commit.join_next().await.unwrap().unwrap();
    let receipt = outcome.unwrap();
    assert_eq!((receipt.stored + receipt.duplicates, receipt.rejected), (3, 0));
    let at_work = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'sluice' AND state = 'active'";
    harness.database.wait_until(at_work, "0");
    assert_eq!(counts(&harness), ["4", "3", "3"]);
    assert_eq!(
        sink.commit(&mut good(4)).await.unwrap(),
        Receipt { stored: 1, duplicates: 3, rejected: 0 }
    );
}
