//! The statements that were made for Citus, on a Postgres that has its catalog and no nodes; and a
//! server whose certificate cannot be read.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use sluice::config::secret::Secret;
use sluice::config::sections::database::{DatabaseConfig, ExpectedEngine};
use sluice::domain::clocks::Clocks;
use sluice::domain::ports::Sink;
use sluice::domain::shard::hash_of_text;
use sluice::domain::time::Timestamp;
use sluice::store::connection::database::Database;
use sluice::store::connection::engine::{EngineKind, TelemetryLayout};
use sluice::store::reads::telemetry;
use sluice::store::schema::partitions::maintain;
use sluice::store::schema::retention::Retention;
use sluice::telemetry::metrics::Metrics;

use super::{StoreHarness, good, harness, settings};
use crate::support::postgres::Postgres;

/// The catalog of Citus, in which telemetry and its default partition are distributed.
const CATALOG: &str = "SET allow_system_table_mods = on;
    CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod \"char\");
    GRANT SELECT ON pg_catalog.pg_dist_partition TO PUBLIC;
    INSERT INTO pg_catalog.pg_dist_partition VALUES ('telemetry', 'h'), ('telemetry_late', 'h');
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
        VALUES (99999, 'citus', 10, 11, false, '13.2-1')";

const KEEP_TEN: Retention = Retention {
    telemetry_days: Some(10),
    quarantine_days: Some(10),
    certificate_days: None,
    columnstore_days: None,
    confirmed: true,
};

fn now() -> Timestamp {
    sluice::clock::now()
}

fn clocks() -> Clocks {
    Clocks { own: now(), database: now() }
}

async fn with_the_catalog_of_citus() -> StoreHarness<'static> {
    let harness = harness().await;
    harness.database.query(CATALOG);
    harness
}

#[tokio::test]
async fn the_engine_is_read_from_the_catalog_and_an_expected_one_is_missed() {
    let plain = harness().await;
    let engine = plain.store.read_engine().await.unwrap();
    assert_eq!((engine.kind, engine.layout), (EngineKind::Plain, TelemetryLayout::Partitioned));
    let citus = with_the_catalog_of_citus().await;
    let engine = citus.store.read_engine().await.unwrap();
    assert_eq!((engine.kind, engine.layout), (EngineKind::Citus, TelemetryLayout::Distributed));
    let shown = String::from_utf8(citus.metrics.render().unwrap()).unwrap();
    assert!(shown.contains(r#"engine="citus",version="13.2-1""#), "{shown}");
    let expecting = |store_engine| {
        let config = DatabaseConfig { store_engine, ..settings(&citus.database.url()) };
        Database::open(&config, Metrics::new().unwrap().store).unwrap()
    };
    let engine = expecting(ExpectedEngine::Plain).read_engine().await.unwrap();
    assert_eq!(engine.kind, EngineKind::Plain);
    let engine = expecting(ExpectedEngine::Timescale).read_engine().await.unwrap();
    assert!(engine.complaint(ExpectedEngine::Timescale).is_some());
}

#[test]
fn the_hash_of_a_device_is_the_one_by_which_citus_assigns_its_rows() {
    let database = Postgres::shared().database();
    let of_length = |length: usize| {
        "pump-\u{e9}\u{6f22}-0123456789".repeat(4).chars().take(length).collect::<String>()
    };
    let texts = (0..70).map(of_length).chain((0..50).map(|number| format!("d-{number:06}")));
    for text in texts {
        let hash = database.value(&format!("SELECT hashtext('{text}')"));
        assert_eq!(hash_of_text(text.as_bytes()).to_string(), hash, "{text}");
    }
}

#[tokio::test]
async fn a_distributed_table_loses_the_same_rows_as_a_plain_one() {
    const ROWS: &str = "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
        SELECT '2001-01-01'::timestamptz + make_interval(secs => n / 3), now(), 'acme', 'd', 'telemetry', '{}', gen_random_uuid()
            FROM generate_series(1, 25000) n;
        INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
        SELECT now(), now(), 'acme', 'd', 'telemetry', '{}', gen_random_uuid() FROM generate_series(1, 10) n";
    for harness in [harness().await, with_the_catalog_of_citus().await] {
        maintain(harness.store.pool(), KEEP_TEN, clocks()).await.unwrap();
        harness.database.query(ROWS);
        let report = maintain(harness.store.pool(), KEEP_TEN, clocks()).await.unwrap();
        assert_eq!((report.failed, report.expired), (vec![], 25_000));
        assert_eq!(harness.database.value("SELECT count(*) FROM telemetry"), "10");
    }
}

#[tokio::test]
async fn a_table_that_fails_leaves_the_others_kept() {
    let harness = harness().await;
    harness.database.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END';
         CREATE TRIGGER refuse BEFORE DELETE ON telemetry_late FOR EACH ROW EXECUTE FUNCTION refuse();
         INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
             VALUES ('2001-01-01', now(), 'acme', 'd', 'telemetry', '{}', gen_random_uuid());
         INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, reason, detail, payload, message_id)
             VALUES (gen_random_uuid(), '2001-01-01', now(), 't', 'BAD_PAYLOAD', '', '', gen_random_uuid());
         INSERT INTO quarantine_counters_minute VALUES ('2001-01-01', 'acme', 'BAD_PAYLOAD', 7)",
    );
    let report = maintain(harness.store.pool(), KEEP_TEN, clocks()).await.unwrap();
    assert!(
        matches!(&report.failed[..], [one] if one.starts_with("telemetry: not today")),
        "{report:?}"
    );
    assert_eq!((report.ahead, report.missing), (3, vec![]), "the days are there");
    assert_eq!(
        harness.database.value(
            "SELECT (SELECT count(*) FROM quarantine_events) + (SELECT count(*) FROM quarantine_counters_minute)
                + (SELECT count(*) FROM pg_inherits WHERE inhparent = 'quarantine_events'::regclass) - 6"
        ),
        "0",
        "the table behind it has its days, and lost what is past its retention"
    );
}

#[tokio::test]
async fn the_latest_row_of_each_device_is_the_same_one_by_one() {
    let harness = harness().await;
    harness.store.sink().commit(&mut good(3)).await.unwrap();
    harness.database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', '');
         INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'd' || n FROM generate_series(0, 5) n;
         INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
         SELECT now() - make_interval(days => n), now(), 'acme', 'd' || n % 5, 'telemetry', '{}', gen_random_uuid()
             FROM generate_series(0, 40) n",
    );
    let tenant = "acme".parse().unwrap();
    let read = async |layout| {
        let pool = harness.store.pool();
        let (rows, next) =
            telemetry::latest_of_each(pool, layout, &tenant, None, 5, now()).await.unwrap();
        let of = |row: &telemetry::TelemetryRow| (row.device_id.clone(), row.message_id);
        (rows.iter().map(of).collect::<Vec<_>>(), next)
    };
    let plain = read(TelemetryLayout::Partitioned).await;
    assert_eq!((plain.0.len(), plain.1.as_deref()), (5, Some("d4")));
    assert_eq!(plain, read(TelemetryLayout::Distributed).await);
}

/// A server with a certificate of X.509 version 1, as Citus makes it for itself.
fn server_with_an_old_certificate() -> Postgres {
    let server = Postgres::private_with(&[("fsync", "off")]);
    let data = server.socket_dir().join("data");
    let script = "openssl req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr && \
        openssl x509 -req -in server.csr -signkey server.key -days 2 -out server.crt";
    let made = Command::new("sh").args(["-c", script]).current_dir(&data).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(data.join("server.crt"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&text.stdout).contains("Version: 1"), "{text:?}");
    let owner = std::fs::metadata(&data).unwrap();
    for file in ["server.key", "server.crt"] {
        chown(data.join(file), Some(owner.uid()), Some(owner.gid())).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(data.join(file), private).unwrap();
    }
    server
}

#[tokio::test]
async fn prefer_takes_a_plain_connection_where_the_certificate_cannot_be_read_and_require_none() {
    let server = server_with_an_old_certificate();
    let database = server.database();
    database.query("ALTER SYSTEM SET ssl = on");
    server.stop();
    server.start();
    assert_eq!(database.value("SHOW ssl"), "on");
    let open = |mode: &str| {
        let url = Some(Secret::new(format!("{}?sslmode={mode}", database.url())));
        let config = DatabaseConfig { url, ..settings("") };
        Database::open(&config, Metrics::new().unwrap().store).unwrap()
    };
    let prefer = open("prefer");
    prefer.schema_state().await.unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = 'sluice'";
    assert_eq!(prefer.read_engine().await.unwrap().kind, EngineKind::Plain, "the pool works, too");
    prefer.sink().commit(&mut good(2)).await.unwrap();
    assert_eq!(database.value(encrypted), "0");
    let refused = open("require").schema_state().await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
}
