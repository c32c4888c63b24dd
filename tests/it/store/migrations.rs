//! The schema: made once by the first to come, refused when it is newer, and loud about every
//! change of the registry.

use sluice::store::connection::database::Database;
use sluice::store::schema::migrate::SchemaError;
use sluice::telemetry::metrics::Metrics;
use sqlx::postgres::PgListener;

use super::{harness, settings};
use crate::support::postgres::Postgres;

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let look = Postgres::shared().empty_database();
    let open = || Database::open(&settings(&look.url()), Metrics::new().unwrap().store).unwrap();
    let (one, other) = (open(), open());
    assert!(matches!(
        one.schema_state().await.unwrap().check(),
        Err(SchemaError::Pending { first: 1, .. })
    ));
    let (first, second) = tokio::join!(one.migrate(), other.migrate());
    first.unwrap();
    second.unwrap();
    let state = one.schema_state().await.unwrap();
    assert_eq!(state.check(), Ok(()));
    assert_eq!(
        look.value("SELECT count(*) FROM _sqlx_migrations"),
        state.applied.len().to_string()
    );
    assert_eq!(one.migrate().await, Ok(vec![]));
}

#[tokio::test]
async fn a_schema_newer_than_this_sluice_is_refused_and_left_alone() {
    let harness = harness().await;
    harness.database.query(
        "INSERT INTO _sqlx_migrations VALUES (9999, 'from the future', now(), true, 'x', 1)",
    );
    let said = harness.store.migrate().await.unwrap_err();
    assert_eq!(said, SchemaError::Newer(9999));
    assert!(said.to_string().contains("run a newer version"), "{said}");
    assert_eq!(harness.store.schema_state().await.unwrap().check(), Err(SchemaError::Newer(9999)));
}

#[tokio::test]
async fn every_change_of_the_registry_says_what_to_forget() {
    let harness = harness().await;
    let mut listener = PgListener::connect(&harness.database.url()).await.unwrap();
    listener.listen("sluice_invalidate").await.unwrap();
    let certificate = "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, \
        common_name, issuer, not_before, not_after) \
        VALUES (gen_random_uuid(), 't', 'd', repeat('a', 64), '1', 't/device/d', 'ca', now(), now() + interval '1 day')";
    for (sql, expected) in [
        ("INSERT INTO tenants (tenant_id, name) VALUES ('t', 'T')", &["t/*"][..]),
        ("UPDATE tenants SET status = 'SUSPENDED'", &["t/*"]),
        (
            "INSERT INTO devices (tenant_id, device_id) VALUES ('t', 'd'), ('t', 'e')",
            &["t/device/d", "t/device/e"],
        ),
        ("UPDATE devices SET device_id = 'f' WHERE device_id = 'e'", &["t/device/e", "t/device/f"]),
        ("DELETE FROM devices WHERE device_id = 'f'", &["t/device/f"]),
        (certificate, &["t/device/d"]),
        ("UPDATE device_certificates SET status = 'REVOKED'", &["t/device/d"]),
        ("DELETE FROM devices", &["t/device/d"]),
        ("DELETE FROM tenants", &["t/*"]),
        ("DELETE FROM device_certificates", &["t/device/d"]),
        ("TRUNCATE tenants, devices CASCADE", &["*"]),
        ("TRUNCATE device_certificates", &["*"]),
    ] {
        harness.database.query(sql);
        harness.database.query("NOTIFY sluice_invalidate, 'end'");
        let mut heard = Vec::new();
        loop {
            let payload = listener.recv().await.unwrap().payload().to_owned();
            if payload == "end" {
                break;
            }
            heard.push(payload);
        }
        assert_eq!(heard, expected, "{sql}");
    }
}

#[tokio::test]
async fn the_tables_refuse_what_no_part_of_sluice_could_read() {
    let harness = harness().await;
    harness.database.query("INSERT INTO tenants (tenant_id, name) VALUES ('t', 'T')");
    for wrong in [
        "INSERT INTO tenants (tenant_id, name) VALUES ('a/b', 'x')",
        "INSERT INTO tenants (tenant_id, name) VALUES ('', 'x')",
        "INSERT INTO devices (tenant_id, device_id) VALUES ('t', E'd\\n')",
        "INSERT INTO devices (tenant_id, device_id) VALUES ('nobody', 'd')",
        "INSERT INTO devices (tenant_id, device_id, status) VALUES ('t', 'd', 'GONE')",
        "INSERT INTO devices (tenant_id, device_id, provision_token_hash) VALUES ('t', 'd', 'secret')",
        "UPDATE tenants SET status = 'active'",
    ] {
        assert!(harness.database.try_query(wrong).is_err(), "{wrong}");
    }
    harness.database.query(
        "INSERT INTO devices (tenant_id, device_id, updated_at) VALUES ('t', 'd', '2001-01-01')",
    );
    harness.database.query("UPDATE devices SET site_id = 's'");
    assert_eq!(
        harness.database.value("SELECT updated_at > now() - interval '1 hour' FROM devices"),
        "t"
    );
}
