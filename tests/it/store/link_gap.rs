//! A full backlog becomes a gap, which the sender reads back: nothing is missing, nothing overtakes,
//! and the outbox stays within its bound.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice::domain::batch::Batch;
use sluice::domain::forwarding::{ForwardRule, LinkRoutes, TopicTemplate};
use sluice::domain::link::ForwardMode;
use sluice::domain::ports::Sink;
use sluice::store::links::gap::RefillStep;
use sluice::store::links::outbox::LinkOutbox;
use sluice::store::links::refill_range::{RefillRange, count_range, refill_range};
use sluice::store::registry::audit::Actor;
use tokio::task::JoinSet;

use super::link_outbox::{AMPLE, check_counts, forward, link, numbered, payloads, sender, sink};
use super::{NOON, StoreHarness, add_reading, add_report, at, harness};
use crate::support::postgres::Postgres;

/// A bound of about twenty messages.
pub(super) const SMALL: u64 = 2_400;

pub(super) fn routes(max_bytes: u64) -> LinkRoutes {
    LinkRoutes {
        link: link("azure"),
        lanes: 1,
        backlog_max_bytes: max_bytes,
        rules: vec![ForwardRule {
            from: "tenant/+/device/+/telemetry".split('/').map(Box::from).collect(),
            to: TopicTemplate::parse("up/{device}").unwrap(),
            mode: ForwardMode::Binary,
        }],
    }
}

/// Reads back until there is no gap or no room; returns the number of messages.
async fn refill(outbox: &mut LinkOutbox, max_bytes: u64) -> (u64, RefillStep) {
    let mut queued = 0;
    loop {
        match outbox.refill(&routes(max_bytes)).await.unwrap() {
            RefillStep::Queued(step) | RefillStep::Closed { queued: step, lost: 0 } => {
                queued += step;
            }
            last => return (queued, last),
        }
    }
}

/// The number of each message, in the order of the outbox.
fn numbers(it: &StoreHarness<'_>) -> Vec<i64> {
    let sql = "SELECT substring(convert_from(payload, 'UTF8') from '\"n\": ([0-9]+)') FROM link_outbox ORDER BY id";
    it.database.query(sql).into_iter().flatten().map(|number| number.parse().unwrap()).collect()
}

fn gap(it: &StoreHarness<'_>) -> String {
    it.database.value("SELECT coalesce(string_agg(concat_ws(' ', writer, messages, lost), ', '), '') FROM link_gaps")
}

#[tokio::test]
async fn beyond_its_bound_the_outbox_takes_nothing_and_the_gap_is_read_back_in_order() {
    let it = harness().await;
    let mut sink = sink(&it);
    for batch in 0..10 {
        sink.commit(&mut numbered(batch * 10..batch * 10 + 10, SMALL)).await.unwrap();
    }
    let queued = numbers(&it).len();
    assert!((20..=30).contains(&queued), "{queued}: at most the bound and one batch");
    assert_eq!(gap(&it), format!("replica-1 {} 0", 100 - queued));
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "100");
    let mut outbox = sender(&it).await;
    let backlog = outbox.backlog(1).await.unwrap();
    assert_eq!(backlog.gap_since, Some(at(NOON + i64::try_from(queued).unwrap())));
    assert_eq!(backlog.gap_messages, 100 - queued as u64);
    assert_eq!(outbox.refill(&routes(SMALL)).await.unwrap(), RefillStep::NoRoom);
    let mut refilled = Vec::new();
    loop {
        let rows = outbox.next(0, &[], 1_000).await.unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        outbox.finish(0, &ids).await.unwrap();
        if outbox.refill(&routes(SMALL)).await.unwrap() == RefillStep::NoGap {
            break;
        }
        assert!(outbox.backlog(1).await.unwrap().bytes <= SMALL + 200, "at most one message more");
        refilled.extend(numbers(&it));
    }
    assert_eq!(refilled, (i64::try_from(queued).unwrap()..100).collect::<Vec<_>>());
    assert_eq!(gap(&it), "");
    check_counts(&it);
    sink.commit(&mut numbered(100..101, AMPLE)).await.unwrap();
    let rows = outbox.next(0, &[], 1_000).await.unwrap();
    assert_eq!(payloads(&rows), [r#"{"n": 100}"#], "the gap has ended");
    let range = RefillRange { since: at(NOON + 7), until: at(NOON + 8) };
    refill_range(it.store.pool(), &Actor::new("cli:me"), &routes(SMALL), range).await.unwrap();
    let rows = outbox.next(0, &[rows[0].id], 1_000).await.unwrap();
    assert_eq!(
        (payloads(&rows), rows[0].topic.as_str()),
        (vec![r#"{"metrics":{"n": 7}}"#], "up/d")
    );
    assert_eq!(rows[0].message_id, numbered(0..30, 1).readings[7].message_id);
}

#[tokio::test]
async fn what_telemetry_does_not_have_is_queued_in_a_gap_too_up_to_the_reserve() {
    let it = harness().await;
    let mut sink = sink(&it);
    sink.commit(&mut numbered(0..22, SMALL)).await.unwrap();
    let report = |version| {
        let mut batch = numbered(100 + version..101 + version, SMALL);
        add_report(&mut batch, "d", Some(version), br#"{"on": true}"#);
        forward(&mut batch, "azure", SMALL);
        batch
    };
    for version in 1..20 {
        sink.commit(&mut report(version)).await.unwrap();
    }
    let reports: u64 = it
        .database
        .value("SELECT count(*) FROM link_outbox WHERE payload = '{\"on\": true}'")
        .parse()
        .unwrap();
    assert!((4..=7).contains(&reports), "{reports}");
    assert_eq!(gap(&it), format!("replica-1 19 {}", 19 - reports));
    let mut outbox = sender(&it).await;
    let lost = loop {
        match outbox.refill(&routes(AMPLE)).await.unwrap() {
            RefillStep::Closed { lost, .. } => break lost,
            step => assert!(matches!(step, RefillStep::Queued(_)), "{step:?}"),
        }
    };
    assert_eq!(lost, 19 - reports);
    assert_eq!(outbox.backlog(1).await.unwrap().lost, lost);
    check_counts(&it);
}

#[tokio::test]
async fn messages_that_telemetry_lost_are_counted() {
    let it = harness().await;
    let mut sink = sink(&it);
    for batch in 0..5 {
        sink.commit(&mut numbered(batch * 10..batch * 10 + 10, 1)).await.unwrap();
    }
    it.database.query("DELETE FROM telemetry WHERE metrics @> '{\"n\": 33}'");
    let mut outbox = sender(&it).await;
    let mut last = outbox.refill(&routes(AMPLE)).await.unwrap();
    while let RefillStep::Queued(_) = last {
        last = outbox.refill(&routes(AMPLE)).await.unwrap();
    }
    assert!(matches!(last, RefillStep::Closed { lost: 1, .. }), "{last:?}");
}

#[tokio::test]
async fn a_batch_that_commits_late_moves_the_begin_of_the_gap_back() {
    let it = harness().await;
    let mut sink = sink(&it);
    sink.commit(&mut numbered(0..1, 1)).await.unwrap();
    sink.commit(&mut numbered(50..60, 1)).await.unwrap();
    let mut outbox = sender(&it).await;
    it.database.query("DELETE FROM link_outbox; UPDATE link_counts SET bytes = 0, messages = 0");
    assert!(matches!(outbox.refill(&routes(AMPLE)).await.unwrap(), RefillStep::Queued(10)));
    let mut other = it.store.sink().of_client("replica-2");
    other.commit(&mut numbered(20..30, AMPLE)).await.unwrap();
    assert_eq!(numbers(&it), (50..60).collect::<Vec<_>>(), "a gap of one replica is one of all");
    assert!(matches!(refill(&mut outbox, AMPLE).await, (20.., RefillStep::NoGap)));
    let found: BTreeSet<i64> = numbers(&it).into_iter().collect();
    assert_eq!(found, (20..30).chain(50..60).collect());
}

#[tokio::test]
async fn one_full_link_holds_up_no_other() {
    let it = harness().await;
    let mut sink = sink(&it);
    for number in 0..40 {
        let mut batch = numbered(number..number + 1, SMALL);
        forward(&mut batch, "aws", AMPLE);
        sink.commit(&mut batch).await.unwrap();
    }
    let count = |link: &str| {
        it.database.value(&format!("SELECT count(*) FROM link_outbox WHERE link = '{link}'"))
    };
    assert_eq!(count("aws"), "40");
    assert!(count("azure").parse::<u32>().unwrap() <= 22);
    assert_eq!(it.database.value("SELECT DISTINCT link FROM link_gaps"), "azure");
}

#[tokio::test]
async fn a_range_is_sent_again_on_demand() {
    let it = harness().await;
    let mut sink = sink(&it);
    sink.commit(&mut numbered(0..30, AMPLE)).await.unwrap();
    it.database.query("DELETE FROM link_outbox; DELETE FROM link_counts");
    let range = RefillRange { since: at(NOON + 5), until: at(NOON + 9) };
    let counted = count_range(it.store.pool(), &routes(AMPLE), range).await.unwrap();
    assert_eq!((counted.messages, numbers(&it).len()), (4, 0), "nothing is queued");
    assert_eq!(counted.first, Some(at(NOON + 5).to_utc()));
    assert_eq!(counted.last, Some(at(NOON + 8).to_utc()));
    assert_eq!(it.database.value("SELECT count(*) FROM audit_log"), "0");
    let actor = Actor::new("cli:me");
    let queued = refill_range(it.store.pool(), &actor, &routes(AMPLE), range).await.unwrap();
    assert_eq!((queued, numbers(&it)), (counted, vec![5, 6, 7, 8]));
    check_counts(&it);
    let bytes = it.database.value("SELECT sum(bytes) FROM link_counts");
    assert_eq!(bytes, counted.bytes.to_string(), "as the outbox counts them");
    assert_eq!(
        it.database.value("SELECT string_agg(concat_ws(' ', actor, action, detail ->> 'messages'), ', ' ORDER BY id) FROM audit_log"),
        "cli:me link.refill, cli:me link.refill-done 4"
    );
}

/// A view that sleeps stands in for a partition without an index.
#[tokio::test]
async fn a_step_that_is_too_slow_is_read_without_the_lock_that_batches_wait_for() {
    let it = harness().await;
    sink(&it).commit(&mut numbered(0..1, 1)).await.unwrap();
    sink(&it).commit(&mut numbered(1..9, 1)).await.unwrap();
    it.database.query("DELETE FROM link_outbox; UPDATE link_counts SET bytes = 0, messages = 0");
    it.database.query(
        "ALTER TABLE telemetry RENAME TO quick; \
         CREATE VIEW telemetry AS SELECT quick.* FROM (SELECT pg_sleep(0.4) OFFSET 0) AS slow, quick; \
         GRANT SELECT ON telemetry TO PUBLIC",
    );
    let mut outbox = sender(&it).await;
    let first = outbox.refill(&routes(AMPLE)).await.unwrap();
    assert_eq!(first, RefillStep::Busy, "under the lock it was ended");
    let mut batch = it.store.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM link_gaps FOR KEY SHARE").execute(&mut *batch).await.unwrap();
    let mut steps = Vec::new();
    while steps.last() != Some(&RefillStep::TooSlow) {
        assert!(steps.len() < 10, "{steps:?}");
        steps.push(outbox.refill(&routes(AMPLE)).await.unwrap());
    }
    drop(batch);
    it.database.query("DROP VIEW telemetry; ALTER TABLE quick RENAME TO telemetry");
    while !gap(&it).is_empty() {
        outbox.refill(&routes(AMPLE)).await.unwrap();
    }
    assert_eq!(numbers(&it), (1..9).collect::<Vec<_>>());
}

/// Two replicas write, each for devices of its own, while the sender sends, reads back, and ends
/// gaps: each number arrives, and the first appearances ascend for each device.
#[tokio::test]
async fn writers_and_a_sender_that_race_lose_nothing_and_keep_the_order() {
    const BATCHES: i64 = 60;
    const EACH: i64 = 7;
    let it = StoreHarness::on(Postgres::shared()).await;
    let mut writers = JoinSet::new();
    for replica in ["r1", "r2"] {
        let mut sink = it.store.sink().of_client(replica);
        writers.spawn(async move {
            for batch in 0..BATCHES {
                sink.commit(&mut of_device(replica, batch * EACH..batch * EACH + EACH))
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    let mut outbox = sender(&it).await;
    let mut sent: Vec<(String, i64)> = Vec::new();
    let (mut refilled, mut is_done) = (0, false);
    loop {
        let rows = outbox.next(0, &[], 25).await.unwrap();
        let was_done = is_done;
        is_done = writers.is_empty();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        outbox.finish(0, &ids).await.unwrap();
        sent.extend(rows.iter().map(|row| (row.device.to_string(), number(&row.payload))));
        if outbox.backlog(1).await.unwrap().bytes < SMALL / 2 {
            match outbox.refill(&routes(SMALL)).await.unwrap() {
                RefillStep::Queued(step) | RefillStep::Closed { queued: step, .. } => {
                    refilled += step;
                }
                RefillStep::NoGap if rows.is_empty() && was_done => break,
                _ => {}
            }
        }
        while let Some(writer) = writers.try_join_next() {
            writer.unwrap();
        }
    }
    assert!(refilled > 0, "the race needs gaps");
    for device in ["r1", "r2"] {
        let mut seen = BTreeSet::new();
        for (_, number) in sent.iter().filter(|(sender, _)| sender == device) {
            let expected = i64::try_from(seen.len()).unwrap();
            assert!(*number <= expected, "{device}: {number} came before {expected}");
            seen.insert(*number);
        }
        assert_eq!(seen.len(), usize::try_from(BATCHES * EACH).unwrap(), "{device}");
    }
    check_counts(&it);
}

fn number(payload: &[u8]) -> i64 {
    let text = std::str::from_utf8(payload).unwrap();
    let digits = text.rsplit_once("\"n\": ").unwrap().1;
    digits.trim_end_matches('}').parse().unwrap()
}

/// Like [`numbered`], of this device and with the current time, as a session would give it.
pub(super) fn of_device(device: &str, numbers: std::ops::Range<i64>) -> Batch {
    let mut batch = Batch::default();
    for number in numbers {
        add_reading(&mut batch, device, format!(r#"{{"n": {number}}}"#).as_bytes());
        let now = sluice::clock::now();
        let origin = batch.deliveries.len() - 1;
        batch.deliveries[origin].received_at = now;
        let reading = batch.readings.last_mut().unwrap();
        (reading.received_at, reading.time) = (now, now);
        forward(&mut batch, "azure", SMALL);
        std::thread::sleep(Duration::from_micros(2));
    }
    batch
}
