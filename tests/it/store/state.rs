//! What a device reports of itself, and the commands it acknowledges.

use sluice::domain::batch::{Batch, LastSeen, Receipt};
use sluice::domain::ports::Sink;

use super::{NOON, StoreHarness, add_ack, add_report, at, device, good, harness};

async fn report(harness: &StoreHarness<'_>, reports: &[(Option<i64>, &str)]) -> (u64, u64, String) {
    let mut batch = Batch::default();
    for (version, word) in reports {
        add_report(&mut batch, "d1", *version, format!(r#"{{"w":"{word}"}}"#).as_bytes());
    }
    let receipt = harness.store.sink().commit(&mut batch).await.unwrap();
    let kept = harness
        .database
        .query("SELECT reported ->> 'w', reported_version FROM device_state")
        .swap_remove(0)
        .join(" ");
    (receipt.stored, receipt.duplicates, kept)
}

#[tokio::test]
async fn the_newest_version_wins_and_without_one_the_latest_to_arrive_does() {
    let harness = harness().await;
    for (reports, expected) in [
        (&[(None, "none yet")][..], (1, 0, "none yet NULL")),
        (&[(Some(3), "three")], (1, 0, "three 3")),
        (&[(Some(2), "two")], (0, 1, "three 3")),
        (&[(Some(3), "three again")], (1, 0, "three again 3")),
        (&[(None, "no version")], (1, 0, "no version 3")),
        (&[(Some(5), "five"), (Some(4), "four")], (1, 1, "five 5")),
        (&[(Some(6), "six"), (Some(6), "six, later")], (1, 1, "six, later 6")),
        (&[(Some(1), "one"), (Some(2), "two")], (0, 2, "six, later 6")),
        // What arrives together ends as if it had arrived one by one.
        (&[(Some(7), "seven"), (None, "none"), (Some(5), "old")], (2, 1, "none 7")),
        (&[(None, "bare"), (Some(2), "older still")], (1, 1, "bare 7")),
        (&[(None, "before"), (Some(8), "eight"), (Some(7), "late")], (2, 1, "eight 8")),
    ] {
        let (stored, duplicates, kept) = expected;
        assert_eq!(
            report(&harness, reports).await,
            (stored, duplicates, kept.to_owned()),
            "{reports:?}"
        );
    }
}

#[tokio::test]
async fn a_report_without_a_version_gives_way_to_one_received_later() {
    let harness = harness().await;
    for (seconds, word, kept) in
        [(10, "new", "new"), (5, "replayed from quarantine", "new"), (11, "newer", "newer")]
    {
        let mut batch = Batch::default();
        add_report(&mut batch, "d1", None, format!(r#"{{"w":"{word}"}}"#).as_bytes());
        batch.shadows[0].received_at = at(NOON + seconds * 1_000_000);
        harness.store.sink().commit(&mut batch).await.unwrap();
        assert_eq!(harness.database.query("SELECT reported ->> 'w' FROM device_state"), [[kept]]);
    }
}

#[tokio::test]
async fn when_a_device_was_last_heard_never_goes_back() {
    let harness = harness().await;
    let mut sink = harness.store.sink();
    let seen = |seconds: i64, telemetry: Option<i64>| LastSeen {
        device: device("d1"),
        last_seen: at(NOON + seconds * 1_000_000),
        last_telemetry: telemetry.map(|seconds| at(NOON + seconds * 1_000_000)),
    };
    for sighting in [seen(0, None), seen(9, Some(8)), seen(5, Some(5)), seen(3, None)] {
        let mut batch = Batch { sightings: vec![sighting], ..good(1) };
        add_report(&mut batch, "d2", None, b"{}");
        sink.commit(&mut batch).await.unwrap();
    }
    let age = "extract(epoch FROM last_seen_at)::bigint, extract(epoch FROM last_telemetry_at)::bigint, reported";
    let rows = harness
        .database
        .query(&format!("SELECT device_id, {age} FROM device_state ORDER BY device_id"));
    let noon = NOON / 1_000_000;
    let heard =
        ["d1".to_owned(), (noon + 9).to_string(), (noon + 8).to_string(), "NULL".to_owned()];
    assert_eq!(rows, [heard, ["d2", "NULL", "NULL", "{}"].map(str::to_owned)]);
}

#[tokio::test]
async fn a_command_is_acknowledged_once_and_an_unknown_one_is_refused() {
    let harness = harness().await;
    harness.database.query(
        "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, status)
         SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'acme', 'd1', 'reboot', status
         FROM (VALUES (1, 'PUBLISHED'), (2, 'EXPIRED'), (3, 'PENDING')) AS v (n, status)",
    );
    let mut sink = harness.store.sink();
    let mut batch = Batch::default();
    for (name, command) in [("d1", 2), ("d1", 1), ("d1", 1), ("d2", 3), ("d1", 9)] {
        add_ack(&mut batch, name, command);
    }
    let receipt = sink.commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 2, duplicates: 1, rejected: 2 });
    let mut again = Batch { maybe_repeated: true, ..Batch::default() };
    add_ack(&mut again, "d1", 1);
    assert_eq!(
        sink.commit(&mut again).await.unwrap(),
        Receipt { stored: 0, duplicates: 1, rejected: 0 }
    );
    let rows = harness.database.query(
        "SELECT status, ack_details, acked_at IS NULL FROM device_commands ORDER BY command_id",
    );
    let done = ["ACKNOWLEDGED", r#"{"status": "ok"}"#, "f"];
    assert_eq!(rows, [done, done, ["PENDING", "NULL", "t"]]);
    let refused = harness
        .database
        .query("SELECT reason, device_id, detail FROM quarantine_events ORDER BY device_id");
    let unknown = |number| {
        format!("command 00000000-0000-0000-0000-00000000000{number} not found for this device")
    };
    assert_eq!(
        refused,
        [["STORE_REJECTED", "d1", &unknown(9)], ["STORE_REJECTED", "d2", &unknown(3)]]
    );
    assert_eq!(harness.metrics.store.poisoned_rows.get(), 0);
}

#[tokio::test]
async fn writers_of_the_same_devices_do_not_deadlock() {
    let harness = harness().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..2 {
        let mut sink = harness.store.sink();
        tasks.spawn(async move {
            for round in 0..25 {
                let mut batch = Batch::default();
                for number in 0..40 {
                    let name = format!("d{number:02}");
                    if (number + writer) % 2 == 0 {
                        add_report(&mut batch, &name, Some(round), b"{}");
                    } else {
                        let (device, last_seen) = (device(&name), at(NOON + round));
                        batch.sightings.push(LastSeen { device, last_seen, last_telemetry: None });
                    }
                }
                sink.commit(&mut batch).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(
        harness.database.value("SELECT count(*) FROM device_state WHERE reported_version = 24"),
        "40"
    );
}
