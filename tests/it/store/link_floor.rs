//! The id at which a look into the outbox begins: it passes no row that commits late, that is left out by
//! a full look, or that comes from another lane.

use sluice::domain::forwarding::LinkRoutes;
use sluice::domain::ids::DeviceKey;
use sluice::domain::ports::Sink;
use sluice::store::links::outbox::LinkOutbox;
use sqlx::AssertSqlSafe;

use super::link_gap::routes;
use super::link_outbox::{AMPLE, numbered, sender, sink};
use super::{StoreHarness, harness};

/// Rows of a lane and a device, with these numbers as payloads.
fn insert(lane: i16, device: &str, numbers: std::ops::Range<i64>) -> String {
    format!(
        "INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id) \
         SELECT 'azure', {lane}, 'acme', '{device}', 'telemetry', 'up', 'raw', convert_to(n::text, 'UTF8'), now(), now(), \
            gen_random_uuid() FROM generate_series({}, {}) n",
        numbers.start,
        numbers.end - 1
    )
}

/// The next messages of a lane, which leave the outbox.
async fn taken(outbox: &mut LinkOutbox, lane: i16, limit: u32) -> Vec<String> {
    let rows = outbox.next(lane, &[], limit).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    outbox.finish(lane, &ids).await.unwrap();
    rows.iter().map(|row| String::from_utf8_lossy(&row.payload).into_owned()).collect()
}

/// Sends messages of the lane until its floor is far above its first rows.
async fn raise(it: &StoreHarness<'_>, outbox: &mut LinkOutbox, lane: i16, device: &str) {
    for round in 0..5 {
        it.database.query(&insert(lane, device, 1000 + round * 3..1003 + round * 3));
        assert_eq!(taken(outbox, lane, 10).await.len(), 3);
    }
}

#[tokio::test]
async fn the_rows_of_a_long_transaction_are_all_found_below_those_that_were_sent() {
    let it = harness().await;
    let mut outbox = sender(&it).await;
    let mut sink = sink(&it);
    // Its rows have the lowest ids, and it does not commit yet.
    let mut long = it.store.pool().begin().await.unwrap();
    sqlx::query(AssertSqlSafe(insert(0, "late", 0..35))).execute(&mut *long).await.unwrap();
    for round in 0..6 {
        sink.commit(&mut numbered(round * 10..round * 10 + 10, AMPLE)).await.unwrap();
        assert_eq!(taken(&mut outbox, 0, 100).await.len(), 10, "round {round}");
    }
    long.commit().await.unwrap();
    sink.commit(&mut numbered(60..70, AMPLE)).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..10 {
        found.extend(taken(&mut outbox, 0, 10).await);
    }
    let expected: Vec<String> = (0..35).map(|number| number.to_string()).collect();
    assert_eq!(found.len(), 45, "{found:?}");
    assert_eq!(found[..35], expected, "in order, below the newer ones");
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), "0");
}

#[tokio::test]
async fn a_row_that_moves_into_a_lane_is_found_below_what_the_lane_has_sent() {
    let it = harness().await;
    let mut outbox = sender(&it).await;
    let lanes = |number: u16| LinkRoutes { lanes: number, ..routes(AMPLE) };
    outbox.adopt_lanes(&lanes(4)).await.unwrap();
    let lane_of =
        |number: u16, device: &str| lanes(number).lane_of(&DeviceKey::new("acme", device).unwrap());
    let names: Vec<String> = (0..100).map(|number| format!("d{number}")).collect();
    // A batch of the earlier settings put its message into lane 0.
    let stray = names.iter().find(|name| lane_of(4, name) == 2).unwrap();
    it.database.query(&insert(0, stray, 1..2));
    raise(&it, &mut outbox, 2, "busy").await;
    assert_eq!(outbox.move_strays(&lanes(4)).await.unwrap(), 1);
    assert_eq!(taken(&mut outbox, 2, 10).await, ["1"]);
    // The number of lanes changes while messages wait.
    let moved = names.iter().find(|name| lane_of(4, name) == 3 && lane_of(2, name) == 1).unwrap();
    it.database.query(&insert(3, moved, 2..3));
    let busy = names.iter().find(|name| lane_of(4, name) == 1 && lane_of(2, name) == 1).unwrap();
    raise(&it, &mut outbox, 1, busy).await;
    assert_eq!(outbox.adopt_lanes(&lanes(2)).await.unwrap(), 1);
    assert_eq!(taken(&mut outbox, 1, 10).await, ["2"]);
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), "0");
}

#[tokio::test]
async fn the_oldest_message_and_those_that_are_too_old_are_found_wherever_a_lane_begins() {
    let it = harness().await;
    let mut outbox = sender(&it).await;
    it.database.query(&insert(0, "held", 7..8));
    let held: i64 = it.database.value("SELECT id FROM link_outbox").parse().unwrap();
    it.database
        .query("UPDATE link_outbox SET received_at = '2020-01-01', queued_at = '2020-01-01'");
    for round in 0..5 {
        it.database.query(&insert(0, "busy", round..round + 1));
        let rows = outbox.next(0, &[held], 10).await.unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).filter(|id| *id != held).collect();
        assert_eq!(ids.len(), 1);
        outbox.finish(0, &ids).await.unwrap();
    }
    let oldest = outbox.backlog(1).await.unwrap().oldest.unwrap();
    assert_eq!(oldest.to_utc().to_rfc3339(), "2020-01-01T00:00:00+00:00");
    let expired = outbox.expire(sluice::clock::now().plus_seconds(-60), 1).await.unwrap();
    assert_eq!(expired, [(0, held)]);
    // Nothing waits: the lane begins behind what it has sent, and finds what comes next.
    it.database.query(&insert(0, "busy", 9..10));
    assert_eq!(taken(&mut outbox, 0, 10).await, ["9"]);
}
