//! Telemetry as a hypertable of Timescale, and with a columnstore.

use serde_json::Value;
use sluice::store::schema::partitions::maintain;

use super::{
    DASHBOARDS, KEEP_TEN, a_reader_sees_its_tenant, both_tables_are_kept,
    every_reading_of_telemetry_answers, in_days, repeats_are_counted_as_repeats, run, seen,
    simulate, store,
};
use crate::faults::lock::Lock;
use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::test_daemon::TestDaemon;

const SETTINGS: [(&str, &str); 3] = [
    ("shared_preload_libraries", "timescaledb"),
    ("timescaledb.telemetry_level", "off"),
    ("fsync", "off"),
];

/// Whether this version lets every login drop a chunk.
const IS_OPEN: &str = "SELECT string_to_array(substring(extversion FROM '^[0-9]+(?:[.][0-9]+)*'), '.')::int[] < ARRAY[2, 29, 1]
    FROM pg_extension WHERE extname = 'timescaledb'";

/// Rows of three days ago, so that a chunk is old enough for the columnstore.
const OLD: &str = "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
    SELECT now() - interval '3 days' + make_interval(secs => n), now(), tenant_id, 'd-' || n % 20, 'telemetry',
        '{\"t\": 21.5, \"p\": 1013}', gen_random_uuid()
    FROM generate_series(1, 5000) n, (VALUES ('sluice-sim-000'), ('sluice-sim-001')) AS tenants (tenant_id)";

/// A server with the library; `None` where it is not installed.
pub fn with_timescale() -> Option<Postgres> {
    Postgres::has_library("timescaledb.so").then(|| Postgres::private_with(&SETTINGS))
}

/// Where this version needs it: the command is refused, and its statement closes the functions.
pub fn close_open_functions(database: &Database<'_>) {
    if database.value(IS_OPEN) == "f" {
        return;
    }
    let builder = TestDaemon::builder().on_database(database);
    let (code, refused) = run(builder.settings(), &["store", "hypertable", "--yes"]);
    let refused = refused.as_str().unwrap();
    assert!(code == 1 && refused.contains("lets every login drop a chunk"), "{refused}");
    let (_, statement) = refused.split_once("in this database: ").unwrap();
    database.query(statement.trim());
}

#[tokio::test]
async fn on_timescale_messages_are_stored_once_and_a_reader_sees_one_tenant_on_each_layout() {
    let Some(server) = with_timescale() else { return };
    let database = server.database();
    let builder = TestDaemon::builder().broker().on_database(&database);
    let (code, refused) = run(builder.settings(), &["store", "hypertable", "--yes"]);
    assert!(
        code == 1 && refused.as_str().unwrap().contains("no extension timescaledb"),
        "{refused}"
    );
    database.query("CREATE EXTENSION timescaledb");
    database.query(OLD);
    database.query(DASHBOARDS);
    database.query("CREATE ROLE of_all LOGIN BYPASSRLS PASSWORD 'x' IN ROLE sluice_reader");
    a_reader_sees_its_tenant(&server, &database, "telemetry");
    a_reader_sees_its_tenant(&server, &database, "telemetry_mine");
    // No policy would limit this role on the chunks.
    database.query("CREATE ROLE grafana; GRANT SELECT ON telemetry TO grafana");
    let (code, refused) = run(builder.settings(), &["store", "hypertable", "--yes"]);
    assert!(code == 1 && refused.as_str().unwrap().contains("telemetry: grafana;"), "{refused}");
    database.query("REVOKE SELECT ON telemetry FROM grafana");
    close_open_functions(&database);
    one_of_two_makes_it(builder.settings(), &database);
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "10000", "the rows moved");
    let indexes = "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'telemetry'";
    assert_eq!(
        database.value(indexes),
        "telemetry_once telemetry_received",
        "as the migrations name them"
    );

    let it = builder.set("COLUMNSTORE_AFTER_DAYS", "2").start_ready();
    let summary = simulate(&it.settings, &["--rate", "0", "--messages", "4000", "--bad", "0.02"]);
    assert_eq!(summary["sent"], 4000);
    let store = store(&database);
    repeats_are_counted_as_repeats(&store, &database).await;
    every_reading_of_telemetry_answers(&store).await;
    a_reader_sees_its_tenant(&server, &database, "telemetry");
    a_reader_sees_its_tenant(&server, &database, "telemetry_mine");
    let chunk = database.value("SELECT show_chunks('telemetry')::text LIMIT 1");
    let denied = seen(&server, &database, "of_none", &chunk).unwrap_err();
    assert!(denied.contains("permission denied"), "a chunk has no policy: {denied}");

    // A transaction of the pool would hold the table.
    store.close().await;
    let (code, done) = run(&it.settings, &["store", "hypertable", "--columnstore", "--yes"]);
    assert_eq!((code, &done["changed"]), (0, &Value::Bool(true)), "{done}");
    let store = super::store(&database);
    let report = maintain(store.pool(), KEEP_TEN, in_days(0)).await.unwrap();
    assert!(report.failed.is_empty() && !report.compressed.is_empty(), "{report:?}");
    a_reader_sees_its_tenant(&server, &database, "telemetry_mine");
    let all = seen(&server, &database, "of_all", "telemetry");
    assert_eq!(all.as_deref(), Ok("sluice-sim-000 sluice-sim-001"), "a role with BYPASSRLS");
    let denied = seen(&server, &database, "of_sim", "telemetry").unwrap_err();
    assert!(denied.contains("permission denied"), "{denied}");
    let again = "INSERT INTO telemetry SELECT * FROM telemetry WHERE time < now() - interval '2 days' ON CONFLICT DO NOTHING";
    database.query(again);
    let old = "SELECT count(*) FROM telemetry WHERE time < now() - interval '2 days'";
    assert_eq!(database.value(old), "10000", "a repeat into the columnstore is a repeat");
    simulate(&it.settings, &["--rate", "0", "--messages", "1000"]);

    doctor_fails_where_readers_see_all(&it, &database);
    a_login_that_is_no_longer_trusted_loses_its_grant(&server, &database);

    let report = both_tables_are_kept(&store, &database).await;
    assert!(report.dropped.iter().all(|name| !name.contains("hyper")), "{report:?}");
    let report = maintain(store.pool(), KEEP_TEN, in_days(9)).await.unwrap();
    assert!(report.failed.is_empty() && !report.dropped.is_empty(), "{report:?}");
    assert_eq!(database.value(old), "0", "the chunk past its retention is gone");
}

fn a_login_that_is_no_longer_trusted_loses_its_grant(server: &Postgres, database: &Database<'_>) {
    database.query("ALTER ROLE of_all NOBYPASSRLS; SELECT sluice_bind_reader()");
    let denied = seen(server, database, "of_all", "telemetry").unwrap_err();
    assert!(denied.contains("permission denied"), "{denied}");
}

/// Two commands that wait for the same lock: one makes the hypertable, the other changes nothing.
fn one_of_two_makes_it(settings: &Settings, database: &Database<'_>) {
    std::thread::scope(|scope| {
        let lock = Lock::on(database, "telemetry");
        let make = || run(settings, &["store", "hypertable", "--yes"]);
        let two = [scope.spawn(make), scope.spawn(make)];
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'telemetry'::regclass";
        database.wait_until(waiting, "2");
        drop(lock);
        let mut codes = two.map(|one| {
            let (code, said) = one.join().unwrap();
            assert!(
                code == 0 || said.as_str().unwrap().contains("in a hypertable already"),
                "{said}"
            );
            code
        });
        codes.sort_unstable();
        assert_eq!(codes, [0, 1]);
    });
}

fn doctor_fails_where_readers_see_all<B, D>(it: &TestDaemon<B, D>, database: &Database<'_>) {
    let found = || run(&it.settings, &["doctor"]).1.to_string();
    let healthy = found();
    assert!(healthy.contains("telemetry in a hypertable with a columnstore"), "{healthy}");
    assert!(healthy.contains("row-level security limits sluice_reader"), "{healthy}");
    database.query("GRANT SELECT ON telemetry TO sluice_reader");
    let open = found();
    assert!(
        open.contains("row-level security is off and sluice_reader may read telemetry"),
        "{open}"
    );
    database.query("SELECT sluice_bind_reader()");
    assert!(!found().contains("row-level security is off"));
    database.query("GRANT SELECT ON telemetry TO of_sim");
    let open = found();
    assert!(open.contains("see the rows of all tenants: of_sim"), "{open}");
    database.query("REVOKE SELECT ON telemetry FROM of_sim");
    assert!(!found().contains("of_sim"));
    if database.value(IS_OPEN) == "t" {
        let function = "EXECUTE ON FUNCTION _timescaledb_functions.drop_chunk(regclass)";
        database.query(&format!("GRANT {function} TO PUBLIC"));
        let open = found();
        assert!(open.contains(&format!("REVOKE {function} FROM PUBLIC")), "{open}");
        database.query(&format!("REVOKE {function} FROM PUBLIC"));
    }
    assert!(!found().contains("drop and freeze"));
}
