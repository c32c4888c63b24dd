//! Partitions: made ahead, filled with what came early, dropped by age, and never blocking a
//! writer.

use std::sync::Arc;
use std::time::Duration;

use sluice::domain::clocks::Clocks;
use sluice::domain::time::Timestamp;
use sluice::lifecycle::{Ending, Readiness, Tasks};
use sluice::store::schema::partition_report::PartitionReport;
use sluice::store::schema::partitions::{keep, maintain};
use sluice::store::schema::retention::Retention;
use sluice::telemetry::metrics::Metrics;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::wait;

const KEEP_ALL: Retention = Retention {
    telemetry_days: None,
    quarantine_days: None,
    certificate_days: None,
    columnstore_days: None,
    confirmed: false,
};
const KEEP_TEN: Retention = Retention {
    telemetry_days: Some(10),
    quarantine_days: Some(10),
    certificate_days: None,
    columnstore_days: None,
    confirmed: false,
};
const CONFIRMED: Retention = Retention { confirmed: true, ..KEEP_TEN };

/// Noon of the day that most of these tests play on.
fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap().into()
}

/// Both clocks at this moment.
fn both(now: Timestamp) -> Clocks {
    Clocks { own: now, database: now }
}

fn days(count: i64) -> i64 {
    86_400 * count
}

/// A database without the partitions that `sluice migrate` made for the days around the real today.
fn bare() -> Database<'static> {
    let database = Postgres::shared().database();
    database.query(
        "DO $$ DECLARE day record; BEGIN
             FOR day IN SELECT inhrelid::regclass AS name FROM pg_inherits JOIN pg_class ON oid = inhrelid
                 WHERE relkind = 'r' AND relname !~ '_late$' LOOP EXECUTE 'DROP TABLE ' || day.name; END LOOP;
         END $$",
    );
    database
}

async fn pool(database: &Database<'_>) -> PgPool {
    PgPool::connect(&database.url()).await.unwrap()
}

async fn maintained(pool: &PgPool, retention: Retention, now: Timestamp) -> PartitionReport {
    let report = maintain(pool, retention, both(now)).await.unwrap();
    assert_eq!(report.failed, [""; 0]);
    report
}

fn reading(time: &str, device: &str) -> String {
    format!(
        "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
         VALUES ('{time}', '{time}', 'acme', '{device}', 'telemetry', '{{}}', '00000000-0000-0000-0000-000000000001')"
    )
}

#[tokio::test]
async fn partitions_stand_ready_from_yesterday_to_three_days_ahead() {
    let database = bare();
    let pool = pool(&database).await;
    let report = maintained(&pool, KEEP_ALL, noon()).await;
    let days = ["20261120", "20261121", "20261122", "20261123", "20261124"];
    let expected = ["telemetry", "quarantine_events"]
        .map(|table| days.map(|day| format!("{table}_{day}")))
        .concat();
    assert_eq!(report, PartitionReport { made: expected, ahead: 3, ..PartitionReport::default() });
    assert_eq!(
        maintained(&pool, KEEP_ALL, noon()).await,
        PartitionReport { ahead: 3, ..PartitionReport::default() }
    );
    let next_day = maintained(&pool, KEEP_ALL, noon().plus_seconds(86_400)).await;
    assert_eq!(next_day.made, ["telemetry_20261125", "quarantine_events_20261125"]);
}

#[tokio::test]
async fn with_links_earlier_partitions_get_the_index_by_the_time_of_receipt() {
    let database = bare();
    let pool = pool(&database).await;
    database.query("DROP INDEX telemetry_received");
    assert_eq!(maintained(&pool, KEEP_ALL, noon()).await.indexed, [""; 0], "there is no link");
    database.query("INSERT INTO link_state (link) VALUES ('azure')");
    let indexed = maintained(&pool, KEEP_ALL, noon()).await.indexed;
    let all = ["20261120", "20261121", "20261122", "20261123", "20261124", "late"];
    assert_eq!(indexed, all.map(|part| format!("telemetry_{part}")));
    assert_eq!(maintained(&pool, KEEP_ALL, noon()).await.indexed, [""; 0], "once");
    let index = "SELECT count(*) FROM pg_indexes WHERE tablename = 'telemetry_20261121' AND indexdef LIKE '%brin (received_at)%'";
    assert_eq!(database.value(index), "1");
}

#[tokio::test]
async fn dead_letters_of_links_are_kept_as_long_as_quarantine() {
    let database = bare();
    let pool = pool(&database).await;
    maintained(&pool, KEEP_TEN, noon()).await;
    database.query(
        "INSERT INTO link_refused (link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at,
             message_id, queued_at, reason, detail, refused_at)
         SELECT 'azure', n, 0, 'acme', 'd', 'telemetry', 'up', 'raw', '', now(), now(), gen_random_uuid(), now(), 'REFUSED', '',
             timestamptz '2026-11-21 12:00Z' - n * interval '1 day' FROM generate_series(9, 12) n",
    );
    maintained(&pool, KEEP_TEN, noon()).await;
    assert_eq!(
        database.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM link_refused"),
        "9 10"
    );
}

#[tokio::test]
async fn rows_older_than_their_partition_are_moved_into_it_and_stay_unique() {
    let database = bare();
    for time in [
        "2026-11-21T00:00:00Z",
        "2026-11-21T23:59:59.999999Z",
        "2026-11-22T00:00:00Z",
        "2026-11-01T00:00:00Z",
    ] {
        database.query(&reading(time, "early"));
    }
    let pool = pool(&database).await;
    assert_eq!(maintained(&pool, KEEP_ALL, noon()).await.moved, 3);
    let homes = "SELECT tableoid::regclass::text, count(*) FROM telemetry GROUP BY 1 ORDER BY 1";
    let expected =
        [["telemetry_20261121", "2"], ["telemetry_20261122", "1"], ["telemetry_late", "1"]];
    assert_eq!(database.query(homes), expected);
    let twice = database.try_query(&reading("2026-11-22T00:00:00Z", "early")).unwrap_err();
    assert!(twice.to_string().contains("duplicate key"), "{twice}");
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes_and_the_rest_stays() {
    let database = bare();
    let pool = pool(&database).await;
    maintained(&pool, KEEP_ALL, noon()).await;
    database
        .query("CREATE TABLE telemetry_kept PARTITION OF telemetry FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')");
    for time in [
        "2026-11-19T10:00:00Z",
        "2026-11-20T10:00:00Z",
        "2026-11-21T10:00:00Z",
        "2020-01-01T10:00:00Z",
    ] {
        database.query(&reading(time, "pump"));
    }
    database.query(
        "INSERT INTO quarantine_counters_minute
         SELECT time, 'acme', 'BAD_PAYLOAD', 1 FROM (VALUES (timestamptz '2026-11-20Z'), ('2026-11-21Z')) v (time)",
    );
    let report = maintained(&pool, CONFIRMED, noon().plus_seconds(days(10))).await;
    assert_eq!(report.dropped, ["telemetry_20261120", "quarantine_events_20261120"]);
    assert_eq!(report.expired, 2, "one late reading and one counter");
    let left = "SELECT time::date FROM telemetry ORDER BY 1";
    assert_eq!(
        database.query(left),
        [["2020-01-01"], ["2026-11-21"]],
        "a partition of another name is left alone"
    );
    assert_eq!(database.value("SELECT count(*) FROM quarantine_counters_minute"), "1");
}

#[tokio::test]
async fn replicas_that_maintain_at_once_make_each_partition_once() {
    let database = bare();
    database.query(&reading("2026-11-21T10:00:00Z", "early"));
    let pool = pool(&database).await;
    let (a, b, c, d) = tokio::join!(
        maintained(&pool, KEEP_TEN, noon()),
        maintained(&pool, KEEP_TEN, noon()),
        maintained(&pool, KEEP_TEN, noon()),
        maintained(&pool, KEEP_TEN, noon()),
    );
    let reports = [a, b, c, d];
    assert_eq!(reports.iter().map(|report| report.made.len()).sum::<usize>(), 10);
    assert_eq!(reports.iter().map(|report| report.moved).sum::<u64>(), 1);
    assert!(reports.iter().all(|report| report.ahead == 3));
}

#[tokio::test]
async fn rows_written_while_their_partition_is_created_are_kept() {
    let database = bare();
    let pool = pool(&database).await;
    let write = async |writer: u32| {
        for number in 0..200 {
            let row =
                reading(&format!("2026-11-21T10:00:00.{number:03}Z"), &format!("pump-{writer}"));
            sqlx::query(sqlx::AssertSqlSafe(row)).execute(&pool).await.unwrap();
        }
    };
    let (report, (), (), ()) =
        tokio::join!(maintained(&pool, KEEP_ALL, noon()), write(1), write(2), write(3));
    assert_eq!(report.made.len(), 10);
    assert_eq!(database.value("SELECT count(*) FROM ONLY telemetry_late"), "0");
    assert_eq!(database.value("SELECT count(*) FROM telemetry_20261121"), "600");
}

#[tokio::test]
async fn a_query_that_holds_a_table_delays_its_partitions_and_nothing_else() {
    let database = bare();
    let pool = pool(&database).await;
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM telemetry").execute(&mut *reader).await.unwrap();
    let report = maintain(&pool, KEEP_ALL, both(noon())).await.unwrap();
    assert!(report.failed[0].contains("lock timeout"), "{report:?}");
    assert_eq!(report.missing, ["telemetry_20261121", "telemetry_20261122"]);
    assert_eq!((report.made.len(), report.ahead), (5, 0), "those of the quarantine");
    database.query(&reading("2026-11-21T10:00:00Z", "pump"));
    reader.rollback().await.unwrap();
    assert_eq!(maintained(&pool, KEEP_ALL, noon()).await.moved, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_is_unready_while_todays_partition_cannot_be_made() {
    let database = bare();
    let pool = pool(&database).await;
    let start = || {
        let (metrics, readiness, stop) =
            (Metrics::new().unwrap(), Readiness::default(), CancellationToken::new());
        let mut tasks = Tasks::default();
        let keeper = keep(
            pool.clone(),
            KEEP_ALL,
            metrics.store.clone(),
            readiness.clone(),
            noon,
            Arc::default(),
            stop.clone(),
        );
        tasks.spawn("partitions", keeper);
        (tasks, metrics.store, readiness, stop)
    };
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM telemetry").execute(&mut *reader).await.unwrap();
    let (tasks, metrics, readiness, stop) = start();
    wait::until("readiness names the partition", || {
        readiness.troubles().get("partitions").is_some_and(|why| why.contains("telemetry_20261121"))
    });
    assert_eq!(metrics.partitions_ahead.get(), 0);
    stop.cancel();
    assert_eq!(tasks.finish(Duration::from_mins(1)).await, Ending::Done);

    reader.rollback().await.unwrap();
    let (tasks, metrics, readiness, stop) = start();
    wait::until("the partitions stand ready", || metrics.partitions_ahead.get() == 3);
    assert!(readiness.troubles().is_empty());
    stop.cancel();
    assert_eq!(tasks.finish(Duration::from_mins(1)).await, Ending::Done);
}

/// A database whose last round was at noon, with a row for each of its first three days.
async fn after_a_round(pool: &PgPool, database: &Database<'_>) {
    maintained(pool, KEEP_TEN, noon()).await;
    for day in ["2026-11-20", "2026-11-21", "2026-11-22"] {
        database.query(&reading(&format!("{day}T10:00:00Z"), "pump"));
    }
    database.query(
        "INSERT INTO quarantine_counters_minute VALUES ('2026-11-20Z', 'acme', 'BAD_PAYLOAD', 1)",
    );
}

const KEPT: &str =
    "SELECT count(*) + (SELECT sum(cnt) FROM quarantine_counters_minute) FROM telemetry";

#[tokio::test]
async fn nothing_is_deleted_while_the_clocks_differ_whichever_is_wrong() {
    let database = bare();
    let pool = pool(&database).await;
    after_a_round(&pool, &database).await;
    let wrong = noon().plus_seconds(days(40));
    for clocks in [Clocks { own: wrong, database: noon() }, Clocks { own: noon(), database: wrong }]
    {
        for retention in [KEEP_TEN, CONFIRMED] {
            let report = maintain(&pool, retention, clocks).await.unwrap();
            assert!(report.held.unwrap().contains("clock"), "confirmed or not");
            assert_eq!((report.dropped.len(), report.expired), (0, 0));
        }
    }
    assert_eq!(database.value(KEPT), "4");
    assert_eq!(maintained(&pool, KEEP_TEN, noon().plus_seconds(60)).await.held, None);
}

#[tokio::test]
async fn where_both_clocks_are_wrong_a_round_of_many_days_waits_for_confirmation() {
    let database = bare();
    let pool = pool(&database).await;
    after_a_round(&pool, &database).await;
    // Also when it is tried again and again, and has made its partitions there.
    for later in [12, 40, 40, 43, 41] {
        let report = maintained(&pool, KEEP_TEN, noon().plus_seconds(days(later))).await;
        let held = report.held.unwrap();
        assert!(
            held.contains("sluice retention --yes") && held.contains(&format!("by {later} days")),
            "{held}"
        );
        assert_eq!((report.dropped.len(), report.expired), (0, 0));
    }
    assert_eq!(database.value(KEPT), "4");
    // The clocks are right again.
    let step = maintained(&pool, KEEP_TEN, noon().plus_seconds(days(2))).await;
    assert_eq!((step.held, step.dropped.len()), (None, 0));
    let confirmed = maintained(&pool, CONFIRMED, noon().plus_seconds(days(12))).await;
    assert!(confirmed.dropped.len() >= 4 && confirmed.expired == 1, "{confirmed:?}");
    assert_eq!(
        maintained(&pool, KEEP_TEN, noon().plus_seconds(days(13))).await.held,
        None,
        "it goes on from there"
    );
}

#[tokio::test]
async fn a_database_of_an_older_release_goes_on_from_the_partitions_it_has() {
    let database = bare();
    let pool = pool(&database).await;
    after_a_round(&pool, &database).await;
    database.query("DELETE FROM retention_rounds");
    for _ in 0..2 {
        assert!(maintained(&pool, KEEP_TEN, noon().plus_seconds(days(32))).await.held.is_some());
    }
    assert_eq!(database.value(KEPT), "4");
    assert_eq!(maintained(&pool, KEEP_TEN, noon().plus_seconds(days(1))).await.held, None);
}

#[tokio::test]
async fn a_long_absence_with_nothing_past_the_retention_needs_no_word() {
    let database = bare();
    let pool = pool(&database).await;
    maintained(&pool, KEEP_TEN, noon()).await;
    let report = maintained(&pool, KEEP_TEN, noon().plus_seconds(days(7))).await;
    assert_eq!((report.held, report.made.len()), (None, 10));
}
