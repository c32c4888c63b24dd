//! The publisher's statements: which commands are due, what becomes of them, and which documents the
//! broker does not have.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sluice::domain::batch::{Batch, Receipt};
use sluice::domain::ids::DeviceKey;
use sluice::domain::message::CommandVerdict;
use sluice::domain::ports::Sink;
use sluice::store::connection::database::Database;
use sluice::store::downlink::command_changes::{TakeRoom, take_open};
use sluice::store::downlink::command_queue::{DueCommand, QueuePlace, SkippedDevices};
use sluice::store::downlink::outbox::{CommandLimits, OutboxSession};
use sluice::store::downlink::pushes::SkippedPushes;
use sluice::telemetry::metrics::Metrics;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{StoreHarness, add_verdict, harness, settings};
use crate::support::database::query_at;
use crate::support::postgres::Postgres;

const ROOM: TakeRoom = TakeRoom { commands: 10, bytes: 65_536, bytes_each: 256 };
const LIMITS: CommandLimits = CommandLimits {
    window: 3,
    ttl: Duration::from_hours(1),
    resend: Duration::from_secs(30),
    attempts: 2,
};
const REGISTRY: &str = "INSERT INTO tenants (tenant_id, status) VALUES ('acme', 'ACTIVE'), ('late', 'SUSPENDED');
    INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', 'd1', 'ACTIVE'), ('acme', 'd2', 'ACTIVE'),
        ('acme', 'off', 'INACTIVE'), ('late', 'd1', 'ACTIVE')";

/// Queues commands `$1` to `$2` of a device, a second apart, the first one `$3` ago.
fn queue(it: &StoreHarness<'_>, device: &str, numbers: std::ops::RangeInclusive<u32>, ago: &str) {
    let (tenant, device) = device.split_once('/').unwrap();
    let (first, last) = (numbers.start(), numbers.end());
    it.database.query(&format!(
        "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, created_at)
         SELECT lpad(n::text, 32, '0')::uuid, '{tenant}', '{device}', 'c' || n,
             now() - interval '{ago}' + (n - {first}) * interval '1 second'
         FROM generate_series({first}, {last}) AS n"
    ));
}

async fn due(session: &mut OutboxSession, place: &mut QueuePlace) -> Vec<DueCommand> {
    session.due_commands(&LIMITS, &SkippedDevices::default(), place).await.unwrap()
}

fn types(commands: &[DueCommand]) -> Vec<&str> {
    commands.iter().map(|command| command.command_type.as_str()).collect()
}

#[tokio::test]
async fn commands_are_due_in_order_within_the_window_of_an_active_device() {
    let it = harness().await;
    it.database.query(REGISTRY);
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    assert!(session.claim().await.unwrap());
    queue(&it, "acme/d1", 1..=9, "10 minutes");
    queue(&it, "acme/d2", 11..=12, "20 minutes");
    queue(&it, "acme/off", 21..=22, "30 minutes");
    queue(&it, "late/d1", 31..=32, "30 minutes");
    queue(&it, "acme/unknown", 41..=42, "30 minutes");
    let mut place = QueuePlace::default();
    let first = due(&mut session, &mut place).await;
    assert_eq!(types(&first), ["c11", "c12", "c1", "c2", "c3"]);
    let of_d1: Vec<&DueCommand> =
        first.iter().filter(|command| command.device_id == "d1").collect();
    session.record_published(&of_d1).await.unwrap();
    assert_eq!(types(&due(&mut session, &mut place).await), ["c11", "c12"], "the window is full");
    it.database
        .query("UPDATE device_commands SET status = 'ACKNOWLEDGED' WHERE command_type = 'c2'");
    assert_eq!(types(&due(&mut session, &mut place).await), ["c11", "c12", "c4"]);
    let skipped = SkippedDevices { tenants: vec!["acme".into()], devices: vec!["d2".into()] };
    let rest = session.due_commands(&LIMITS, &skipped, &mut place).await.unwrap();
    assert_eq!(types(&rest), ["c4"]);
    it.database.query("UPDATE devices SET status = 'ACTIVE'; UPDATE tenants SET status = 'ACTIVE'");
    let all = due(&mut session, &mut place).await;
    assert_eq!(types(&all), ["c21", "c31", "c22", "c32", "c11", "c12", "c4"]);
}

#[tokio::test]
async fn a_long_queue_of_full_devices_hides_neither_new_commands_nor_later_devices() {
    let it = harness().await;
    it.database.query(REGISTRY);
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    queue(&it, "acme/off", 1..=3_000, "3 hours");
    it.database.query("UPDATE device_commands SET expires_at = now() + interval '1 day'");
    queue(&it, "acme/d1", 3_001..=3_001, "50 minutes");
    queue(&it, "acme/d2", 3_002..=3_002, "1 second");
    queue(&it, "acme/off", 4_001..=4_600, "40 minutes");
    let mut place = QueuePlace::default();
    assert_eq!(types(&due(&mut session, &mut place).await), ["c3002"], "it is among the newest");
    assert!(!place.is_start());
    assert_eq!(types(&due(&mut session, &mut place).await), ["c3001", "c3002"]);
    assert!(place.is_start(), "the queue was looked through");
}

#[tokio::test]
async fn commands_end_by_their_time_and_rows_with_odd_times_harm_nothing() {
    let it = harness().await;
    it.database.query(REGISTRY);
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    queue(&it, "acme/d1", 1..=1, "5 years");
    queue(&it, "acme/d1", 2..=7, "1 minute");
    it.database.query(
        "UPDATE device_commands SET expires_at = now() - interval '1 s', status = 'PUBLISHED' WHERE command_type = 'c2';
         UPDATE device_commands SET created_at = '9999-12-30' WHERE command_type = 'c3';
         UPDATE device_commands SET created_at = '0001-01-01', expires_at = '9999-12-30' WHERE command_type = 'c4';
         UPDATE device_commands SET expires_at = '9999-12-30' WHERE command_type = 'c5';
         UPDATE device_commands SET expires_at = '4000-01-01 BC', status = 'IN_PROGRESS' WHERE command_type = 'c6'",
    );
    let before = due(&mut session, &mut QueuePlace::default()).await;
    assert_eq!(types(&before), ["c5", "c7"], "an expired command is never published");
    let life = before[0].valid_until - before[0].created_at;
    assert_eq!(life, TimeDelta::days(30), "a distant end is nearer");
    assert!(!session.expire_commands(&LIMITS).await.unwrap());
    let ended = "SELECT command_type FROM device_commands WHERE status = 'EXPIRED' AND finished_at IS NOT NULL
        ORDER BY command_type";
    assert_eq!(it.database.query(ended), [["c1"], ["c2"], ["c3"], ["c4"], ["c6"]]);
    assert_eq!(types(&due(&mut session, &mut QueuePlace::default()).await), ["c5", "c7"]);
    it.database.query(
        "INSERT INTO device_pushes (tenant_id, device_id, kind) VALUES ('acme', 'd1', 'desired')",
    );
    for time in ["infinity", "-infinity", "294276-12-15"] {
        for (table, column) in [
            ("device_commands", "created_at"),
            ("device_commands", "expires_at"),
            ("device_commands", "acked_at"),
            ("device_pushes", "dirty_since"),
        ] {
            let refused = it.database.try_query(&format!("UPDATE {table} SET {column} = '{time}'"));
            assert!(refused.is_err(), "{table}.{column} {time}");
        }
    }
}

#[tokio::test]
async fn a_locked_row_delays_neither_the_publisher_nor_a_device() {
    let it = harness().await;
    it.database.query(REGISTRY);
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    queue(&it, "acme/d1", 1..=1, "1 minute");
    queue(&it, "acme/d2", 2..=3, "1 minute");
    it.database.query(
        "INSERT INTO device_pushes (tenant_id, device_id, kind, payload) VALUES ('acme', 'd1', 'desired', '{}'),
             ('acme', 'd2', 'desired', '{}')",
    );
    let read = due(&mut session, &mut QueuePlace::default()).await;
    let pushes = session.dirty_pushes(&SkippedPushes::default()).await.unwrap();
    let mut other = PgConnection::connect(&it.database.url()).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    for table in ["device_commands", "device_pushes"] {
        let statement = format!("SELECT FROM {table} WHERE device_id = 'd1' FOR UPDATE");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *lock).await.unwrap();
    }
    let left = session.record_published(&read.iter().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(left.iter().map(|one| one.command_type.as_str()).collect::<Vec<_>>(), ["c1"]);
    assert!(!session.record_failed(&read[0], "it is locked").await.unwrap());
    let left = session.record_accepted(&pushes.iter().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(left.iter().map(|one| one.device_id.as_str()).collect::<Vec<_>>(), ["d1"]);
    let rows = "SELECT command_type, status FROM device_commands ORDER BY 1";
    let published = [["c1", "PENDING"], ["c2", "PUBLISHED"], ["c3", "PUBLISHED"]];
    assert_eq!(it.database.query(rows), published);
    let (device, room) = (DeviceKey::new("acme", "d1").unwrap(), ROOM);
    let taken = take_open(it.store.pool(), &device, room, LIMITS.ttl).await.unwrap();
    assert_eq!(taken.len(), 1, "the device gets the locked command");
    lock.rollback().await.unwrap();
    assert!(session.record_published(&[&read[0]]).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_migration_publishes_older_documents_and_ends_rows_with_odd_times() {
    let database = Postgres::shared().empty_database();
    let mut files: Vec<_> =
        fs::read_dir("migrations").unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
    let run = |file: &PathBuf| {
        query_at(&database.url(), &fs::read_to_string(file).unwrap()).unwrap();
    };
    let (before, after): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| *name(file) < *"0022");
    before.iter().for_each(run);
    database.query(
        "INSERT INTO tenants (tenant_id) VALUES ('acme');
         INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'd1'), ('acme', 'd2');
         INSERT INTO device_state (tenant_id, device_id, desired, desired_version) VALUES
             ('acme', 'd1', '{\"a\":1}', NULL), ('acme', 'd2', '{}', 7), ('acme', 'gone', '{}', 7);
         INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, created_at, expires_at)
         SELECT gen_random_uuid(), 'acme', 'd1', 'x', a, b FROM (VALUES ('infinity'::timestamptz, NULL::timestamptz),
             ('-infinity', 'infinity'), (now(), '-infinity'), ('294276-12-15', NULL)) AS odd (a, b)",
    );
    after.iter().for_each(run);
    let rows = database.query(
        "SELECT p.device_id, p.payload ->> 'version', p.payload -> 'desired', s.desired_version, p.dirty_since IS NOT NULL
         FROM device_pushes p JOIN device_state s USING (tenant_id, device_id) ORDER BY 1",
    );
    assert_eq!(rows, [["d1", "1", "{\"a\": 1}", "1", "t"], ["d2", "7", "{}", "7", "t"]]);
    let store = Database::open(&settings(&database.url()), Metrics::new().unwrap().store).unwrap();
    let mut session = OutboxSession::open(&store).await.unwrap();
    assert!(session.has_work().await.unwrap());
    assert_eq!(due(&mut session, &mut QueuePlace::default()).await, []);
    session.expire_commands(&LIMITS).await.unwrap();
    let open = "SELECT count(*) FROM device_commands WHERE status <> 'EXPIRED'";
    assert_eq!(database.value(open), "0");
    database.query("UPDATE device_pushes SET dirty_since = NULL, payload = NULL");
    assert!(!session.has_work().await.unwrap(), "finished rows need no connection");
}

#[tokio::test]
async fn a_command_is_published_again_only_after_its_device_was_seen() {
    let it = harness().await;
    it.database.query(REGISTRY);
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    queue(&it, "acme/d1", 1..=2, "10 minutes");
    queue(&it, "acme/d2", 3..=3, "10 minutes");
    let first = due(&mut session, &mut QueuePlace::default()).await;
    session.record_published(&first.iter().collect::<Vec<_>>()).await.unwrap();
    let skipped = SkippedDevices::default();
    it.database.query(
        "INSERT INTO device_state (tenant_id, device_id, last_seen_at)
         VALUES ('acme', 'd1', now() + interval '1 s'), ('acme', 'd2', now() - interval '1 h')",
    );
    let early =
        session.unanswered_commands(&LIMITS, &skipped, &mut QueuePlace::default()).await.unwrap();
    assert_eq!(types(&early), Vec::<&str>::new(), "30 seconds are not over");
    it.database.query("UPDATE device_commands SET published_at = now() - interval '40 s'");
    let again =
        session.unanswered_commands(&LIMITS, &skipped, &mut QueuePlace::default()).await.unwrap();
    assert_eq!(types(&again), ["c1", "c2"], "d2 was not seen since");
    assert_eq!(again[0].attempts, 1);
    session.record_published(&[&again[0]]).await.unwrap();
    it.database.query("UPDATE device_commands SET published_at = now() - interval '40 s'");
    let last =
        session.unanswered_commands(&LIMITS, &skipped, &mut QueuePlace::default()).await.unwrap();
    assert_eq!(types(&last), ["c2"], "c1 was published twice, which is the most");
}

#[tokio::test]
async fn a_publication_does_not_undo_what_became_of_the_command_meanwhile() {
    let it = harness().await;
    it.database.query(REGISTRY);
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    queue(&it, "acme/d1", 1..=3, "1 minute");
    let read = due(&mut session, &mut QueuePlace::default()).await;
    it.database.query(
        "UPDATE device_commands SET status = 'CANCELLED' WHERE command_type = 'c1';
         UPDATE device_commands SET status = 'ACKNOWLEDGED' WHERE command_type = 'c2'",
    );
    session.record_published(&read.iter().collect::<Vec<_>>()).await.unwrap();
    session.record_failed(&read[2], "not any more").await.unwrap();
    let rows = it.database.query(
        "SELECT status, attempts, published_at IS NOT NULL FROM device_commands ORDER BY command_type",
    );
    assert_eq!(
        rows,
        [["CANCELLED", "1", "t"], ["ACKNOWLEDGED", "1", "t"], ["PUBLISHED", "1", "t"]]
    );
}

#[tokio::test]
async fn each_verdict_has_its_effect_on_each_state() {
    let it = harness().await;
    let states = [
        "PENDING",
        "PUBLISHED",
        "IN_PROGRESS",
        "ACKNOWLEDGED",
        "REJECTED",
        "FAILED",
        "EXPIRED",
        "CANCELLED",
    ];
    let verdicts = [
        (CommandVerdict::Done, br#"{"status":"ok"}"#.as_slice(), "ACKNOWLEDGED"),
        (CommandVerdict::Rejected, br#"{"status":"rejected"}"#, "REJECTED"),
        (CommandVerdict::Failed, br#"{"status":"failed"}"#, "FAILED"),
        (CommandVerdict::InProgress, br#"{"status":"in_progress"}"#, "IN_PROGRESS"),
    ];
    let mut sink = it.store.sink();
    for (verdict, details, after) in verdicts {
        it.database.query("TRUNCATE device_commands");
        for (number, state) in states.iter().enumerate() {
            it.database.query(&format!(
                "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, status)
                 VALUES (lpad('{number}', 32, '0')::uuid, 'acme', 'd1', 'x', '{state}')"
            ));
        }
        let mut batch = Batch::default();
        for number in 0..states.len() {
            add_verdict(&mut batch, "d1", number as u128, verdict, details);
        }
        let is_final = verdict.is_final();
        let stored = if is_final { 5 } else { 4 };
        let receipt = sink.commit(&mut batch).await.unwrap();
        let expected = Receipt { stored, duplicates: 8 - stored, rejected: 0 };
        assert_eq!(receipt, expected, "{verdict:?}");
        let expired = if is_final { after } else { "EXPIRED" };
        let expected =
            [after, after, after, "ACKNOWLEDGED", "REJECTED", "FAILED", expired, "CANCELLED"];
        let found = it.database.query("SELECT status FROM device_commands ORDER BY command_id");
        assert_eq!(found, expected.map(|state| [state]), "{verdict:?}");
        let noted = "SELECT count(*), count(finished_at) FROM device_commands WHERE ack_details IS NOT NULL";
        let (noted, finished) = (it.database.query(noted), if is_final { "4" } else { "0" });
        assert_eq!(noted, [[stored.to_string(), finished.to_owned()]], "{verdict:?}");
    }
}

#[tokio::test]
async fn the_first_final_verdict_of_a_batch_counts() {
    let it = harness().await;
    it.database.query(
        "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type)
         VALUES (lpad('1', 32, '0')::uuid, 'acme', 'd1', 'x')",
    );
    let mut batch = Batch::default();
    for (verdict, details) in [
        (CommandVerdict::InProgress, br#"{"n":1}"#.as_slice()),
        (CommandVerdict::Failed, br#"{"n":2}"#),
        (CommandVerdict::Done, br#"{"n":3}"#),
    ] {
        add_verdict(&mut batch, "d1", 1, verdict, details);
    }
    let receipt = it.store.sink().commit(&mut batch).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 2, rejected: 0 });
    let row = it.database.query("SELECT status, ack_details FROM device_commands");
    assert_eq!(row, [["FAILED", r#"{"n": 2}"#]]);
}

#[tokio::test]
async fn only_the_revision_that_was_published_is_settled() {
    let it = harness().await;
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    it.database.query(
        "INSERT INTO device_state (tenant_id, device_id, desired) VALUES ('acme', 'd1', '{\"a\":1}'), ('acme', 'd2', '{}')",
    );
    let none = SkippedPushes::default();
    let read = session.dirty_pushes(&none).await.unwrap();
    assert_eq!(read.len(), 2);
    it.database.query("UPDATE device_state SET desired = '{\"a\":2}' WHERE device_id = 'd1'");
    session.record_accepted(&read.iter().collect::<Vec<_>>()).await.unwrap();
    let rest = session.dirty_pushes(&none).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!((rest[0].device_id.as_str(), rest[0].revision), ("d1", 2));
    assert!(rest[0].payload.as_ref().unwrap().contains(r#""desired": {"a": 2}"#));
    let skipped = SkippedPushes {
        tenants: vec!["acme".into()],
        devices: vec!["d1".into()],
        kinds: vec!["desired".into()],
    };
    assert_eq!(session.dirty_pushes(&skipped).await.unwrap(), []);
    assert_eq!(session.push_backlog().await.unwrap().dirty, 1);
}

#[tokio::test]
async fn what_a_broker_may_have_lost_is_marked_and_withdrawn_rows_end() {
    let it = harness().await;
    let mut session = OutboxSession::open(&it.store).await.unwrap();
    it.database.query(
        "INSERT INTO device_pushes (tenant_id, device_id, kind, payload, dirty_since, published_at) VALUES
             ('acme', 'old', 'desired', '{}', NULL, '2026-01-01'), ('acme', 'new', 'desired', '{}', NULL, '2026-01-03'),
             ('acme', 'gone', 'desired', NULL, NULL, '2026-01-03'), ('acme', 'later', 'desired', '{}', NULL, '2026-01-05')",
    );
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let dirty = "SELECT device_id FROM device_pushes WHERE dirty_since IS NOT NULL ORDER BY 1";
    let (after, until) = (at("2026-01-02T00:00:00Z"), at("2026-01-04T00:00:00Z"));
    assert_eq!(session.mark_lost(Some(after), until).await.unwrap(), (2, true));
    assert_eq!(it.database.query(dirty), [["gone"], ["new"]], "also what was withdrawn");
    it.database.query("UPDATE device_pushes SET dirty_since = NULL");
    assert_eq!(session.mark_lost(None, until).await.unwrap(), (2, true));
    assert_eq!(it.database.query(dirty), [["new"], ["old"]]);
    it.database.query("UPDATE device_pushes SET dirty_since = NULL");
    session.forget_withdrawn().await.unwrap();
    let rows = it.database.query("SELECT device_id FROM device_pushes ORDER BY 1");
    assert_eq!(rows, [["later"], ["new"], ["old"]]);
}

/// While this test waits, its thread runs no other task: the first publisher is frozen.
#[tokio::test]
async fn one_session_is_the_publisher_and_a_frozen_one_loses_the_lock() {
    let it = harness().await;
    let mut frozen = OutboxSession::open(&it.store).await.unwrap();
    let mut second = OutboxSession::open(&it.store).await.unwrap();
    assert!(frozen.claim().await.unwrap());
    assert!(!second.claim().await.unwrap());
    it.database.wait_until(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        "0",
    );
    let mut third = OutboxSession::open(&it.store).await.unwrap();
    assert!(third.claim().await.unwrap());
    let why = frozen.now().await.unwrap_err().to_string();
    assert!(why.contains("idle-session timeout"), "{why}");
}
