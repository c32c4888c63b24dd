//! What the promises stand on is looked at: each object that is missing, switched off or changed is
//! named.

use sluice::domain::finding::Severity;
use sluice::store::schema::{inspect_schema, required_objects};

use super::harness;
use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

/// A change by hand, and what the inspection says of it.
const HARMS: [(&str, &str); 17] = [
    (
        "DROP INDEX telemetry_once",
        "missing: unique telemetry btree (tenant_id, device_id, \"time\", message_id)",
    ),
    (
        "CREATE UNIQUE INDEX telemetry_once ON telemetry (tenant_id, device_id, time, message_id, seq)",
        "unique telemetry",
    ),
    ("ALTER TABLE device_state DROP CONSTRAINT device_state_pkey", "unique device_state"),
    (
        "ALTER TABLE device_certificates DROP CONSTRAINT device_certificates_issuer_serial_number_key",
        "(issuer, serial_number)",
    ),
    (
        "ALTER TABLE devices DISABLE TRIGGER devices_notify_updated",
        "trigger devices devices_notify_updated",
    ),
    (
        "ALTER TABLE devices DISABLE TRIGGER devices_notify",
        "subscriber trigger devices devices_notify",
    ),
    ("DROP TRIGGER tenants_notify ON tenants", "trigger tenants tenants_notify"),
    (
        "CREATE OR REPLACE FUNCTION sluice_note_revocation() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "trigger device_certificates device_certificates_note_revocation",
    ),
    ("ALTER TABLE telemetry DETACH PARTITION telemetry_late", "default partition of telemetry"),
    (
        "ALTER TABLE quarantine_events DETACH PARTITION quarantine_events_late",
        "default partition of quarantine_events",
    ),
    ("ALTER TABLE devices DROP CONSTRAINT devices_status_check", "constraint devices CHECK"),
    (
        "ALTER TABLE devices DROP CONSTRAINT devices_tenant_id_fkey",
        "constraint devices FOREIGN KEY",
    ),
    ("DROP SEQUENCE crl_numbers", "sequence crl_numbers"),
    ("DROP TABLE crl_canaries", "table crl_canaries"),
    ("ALTER TABLE telemetry DISABLE ROW LEVEL SECURITY", "row security telemetry"),
    ("DROP POLICY sluice_reader_tenant ON devices", "policy devices sluice_reader_tenant"),
    (
        "CREATE POLICY everybody ON tenants FOR SELECT USING (true)",
        "not created by a migration: policy tenants everybody",
    ),
];

#[tokio::test]
async fn the_list_of_what_must_be_there_is_what_the_migrations_make() {
    let harness = harness().await;
    let present = required_objects::listed(&harness.store).await.unwrap();
    let present: Vec<&str> =
        present.iter().map(String::as_str).filter(|line| !line.starts_with("unread ")).collect();
    let required: Vec<&str> = required_objects::REQUIRED.lines().collect();
    let missing: Vec<&&str> = present.iter().filter(|line| !required.contains(line)).collect();
    let left_over: Vec<&&str> = required.iter().filter(|line| !present.contains(line)).collect();
    assert!(
        missing.is_empty() && left_over.is_empty(),
        "put into src/store/schema/required_objects.txt: {missing:#?}\nand take out of it: {left_over:#?}"
    );
}

#[tokio::test]
async fn each_object_that_is_gone_switched_off_or_changed_is_named() {
    let harness = harness().await;
    let found = async || inspect_schema::objects(&harness.store).await.unwrap();
    let healthy = found().await;
    assert!(healthy.iter().all(|finding| finding.level == Severity::Ok), "{healthy:?}");
    for (harm, said) in HARMS {
        harness.database.query(harm);
        let found = found().await;
        assert!(
            found.iter().any(|it| it.level == Severity::Error && it.what.contains(said)),
            "{harm}: {found:?}"
        );
    }
    harness.database.query("DROP INDEX quarantine_events_time");
    let found = found().await;
    assert!(
        found
            .iter()
            .any(|it| it.level == Severity::Warning && it.what.contains("quarantined_at, id")),
        "{found:?}"
    );
}

#[test]
fn a_daemon_without_its_unique_index_is_unready_until_there_is_one() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let daemon = Settings::new(&broker, &database).start();
    daemon.wait_ready();
    database.query("DROP INDEX telemetry_once");
    let why = daemon.wait_unready_for("schema");
    assert!(why.contains("unique telemetry"), "{why}");
    database.query(
        "CREATE UNIQUE INDEX of_another_name ON telemetry (tenant_id, device_id, time, message_id)",
    );
    daemon.wait_ready();
}
