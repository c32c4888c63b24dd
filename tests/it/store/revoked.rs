//! What was revoked stays revoked, whatever plain SQL does to the rows around it.

use sluice::domain::ids::DeviceKey;
use sluice::domain::ports::Directory;
use sluice::store::certificates::revocation_ledger::RevocationLedger;

use super::{StoreHarness, harness};

/// The serial numbers of the two certificates: `pump-1` holds the first, `pump-2` the second.
const FIRST: &str = "0a01";
const SECOND: &str = "0a02";

fn add_certificates(harness: &StoreHarness<'_>) {
    harness.database.query("INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme')");
    add_devices(harness);
    for (device, serial) in [("pump-1", FIRST), ("pump-2", SECOND)] {
        add_row(harness, device, serial);
    }
}

fn add_devices(harness: &StoreHarness<'_>) {
    harness.database.query(
        "INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1'), ('acme', 'pump-2')",
    );
}

fn add_row(harness: &StoreHarness<'_>, device: &str, serial: &str) {
    harness.database.query(&format!(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
         not_before, not_after) VALUES (gen_random_uuid(), 'acme', '{device}', encode(sha256('{serial}'), 'hex'), '{serial}', \
         'acme/device/{device}', 'CN=ca', now(), now() + interval '30 days')"
    ));
}

fn revoke(harness: &StoreHarness<'_>, device: &str) {
    harness.database.query(&format!(
        "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'keyCompromise' \
         WHERE device_id = '{device}'"
    ));
}

/// The serial numbers that the next list holds, in order.
async fn listed(harness: &StoreHarness<'_>) -> Vec<String> {
    let mut ledger = RevocationLedger::open(&harness.store).await.unwrap();
    let rows = ledger.revoked("CN=ca", database_now(harness).into()).await.unwrap();
    ledger.close().await;
    let mut serials: Vec<String> = rows.into_iter().map(|row| row.serial_number).collect();
    serials.sort();
    serials
}

fn database_now(harness: &StoreHarness<'_>) -> chrono::DateTime<chrono::Utc> {
    harness
        .database
        .value("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
        .parse()
        .unwrap()
}

/// Whether messages of the device are authenticated by a certificate now.
async fn is_authenticated(harness: &StoreHarness<'_>, device: &str) -> bool {
    let found =
        harness.store.directory().find(&[DeviceKey::new("acme", device).unwrap()]).await.unwrap();
    found[0].device.as_ref().is_some_and(|device| !device.certificates.is_empty())
}

#[tokio::test]
async fn no_statement_takes_a_revocation_back() {
    let harness = harness().await;
    add_certificates(&harness);
    revoke(&harness, "pump-1");
    for change in [
        "status = 'ACTIVE'",
        "status = 'EXPIRED'",
        "status = 'ACTIVE', revoked_at = NULL, revoked_reason = NULL",
        "serial_number = '0b'",
        "issuer = 'CN=other'",
        "not_after = now() + interval '1 second'",
        "fingerprint_sha256 = repeat('0', 64)",
        "id = gen_random_uuid()",
    ] {
        let refused = harness.database.try_query(&format!(
            "UPDATE device_certificates SET {change} WHERE device_id = 'pump-1'"
        ));
        let said = refused.expect_err(change).to_string();
        assert!(said.contains("stays revoked until it ends"), "{said}");
    }
    for statement in [
        "DELETE FROM revoked_certificates",
        "TRUNCATE revoked_certificates",
        "UPDATE revoked_certificates SET not_after = now()",
        "UPDATE revoked_certificates SET serial_number = '0b'",
    ] {
        assert!(harness.database.try_query(statement).is_err(), "{statement}");
    }
    assert_eq!(listed(&harness).await, [FIRST]);
    // The row goes, and comes back: as what it is.
    harness.database.query("DELETE FROM device_certificates WHERE device_id = 'pump-1'");
    assert_eq!(listed(&harness).await, [FIRST]);
    add_row(&harness, "pump-1", FIRST);
    let back = "SELECT status || ' ' || revoked_reason FROM device_certificates WHERE device_id = 'pump-1'";
    assert_eq!(harness.database.value(back), "REVOKED keyCompromise");
    assert!(
        !is_authenticated(&harness, "pump-1").await && is_authenticated(&harness, "pump-2").await
    );
    // Past its end it is a row like others.
    harness.database.query(
        "SET session_replication_role = replica; UPDATE device_certificates SET not_before = now() - interval '1 day', \
         not_after = now() - interval '1 minute'; UPDATE revoked_certificates SET not_after = now() - interval '1 minute'",
    );
    assert!(listed(&harness).await.is_empty());
}

#[tokio::test]
async fn a_row_that_was_made_active_past_the_triggers_authenticates_nobody() {
    let harness = harness().await;
    add_certificates(&harness);
    revoke(&harness, "pump-1");
    let past = "SET session_replication_role = replica; UPDATE device_certificates SET";
    harness.database.query(&format!("{past} status = 'ACTIVE' WHERE device_id = 'pump-1'"));
    assert!(!is_authenticated(&harness, "pump-1").await, "by its id");
    harness.database.query(&format!("{past} id = gen_random_uuid() WHERE device_id = 'pump-1'"));
    assert!(!is_authenticated(&harness, "pump-1").await, "by its number");
    assert!(is_authenticated(&harness, "pump-2").await);
    assert_eq!(listed(&harness).await, [FIRST]);
}

#[tokio::test]
async fn a_certificate_that_loses_its_device_or_its_row_is_revoked() {
    for (statement, expected) in [
        ("DELETE FROM devices WHERE device_id = 'pump-1'", &[FIRST][..]),
        ("DELETE FROM devices", &[FIRST, SECOND]),
        ("UPDATE devices SET device_id = 'other' WHERE device_id = 'pump-2'", &[SECOND]),
        ("TRUNCATE devices CASCADE", &[FIRST, SECOND]),
        ("TRUNCATE tenants CASCADE", &[FIRST, SECOND]),
        ("TRUNCATE tenants, devices, device_certificates CASCADE", &[FIRST, SECOND]),
        ("DELETE FROM device_certificates WHERE device_id = 'pump-1'", &[FIRST]),
        ("TRUNCATE device_certificates", &[FIRST, SECOND]),
    ] {
        let harness = harness().await;
        add_certificates(&harness);
        harness.database.query(statement);
        assert_eq!(listed(&harness).await, expected, "{statement}");
        let reasons = "SELECT count(*) FROM revoked_certificates JOIN certificate_revocations USING (certificate_id) \
            WHERE revoked_reason IN ('cessationOfOperation', 'affiliationChanged')";
        assert_eq!(harness.database.value(reasons), expected.len().to_string(), "{statement}");
    }
}

#[tokio::test]
async fn revocations_from_before_the_table_of_revocations_are_taken_over() {
    let harness = harness().await;
    add_certificates(&harness);
    revoke(&harness, "pump-1");
    // As the migration found it: a row that no trigger saw, and a certificate whose device is gone.
    let (_, fill) = include_str!("../../../migrations/0016_keep_revocations.sql")
        .rsplit_once("-- What was revoked after")
        .unwrap();
    harness.database.query(&format!(
        "SET session_replication_role = replica; DELETE FROM revoked_certificates; DELETE FROM devices WHERE device_id = 'pump-2'; \
         RESET session_replication_role; -- {fill}"
    ));
    assert_eq!(listed(&harness).await, [FIRST, SECOND]);
}

#[tokio::test]
async fn a_serial_number_that_cannot_be_read_may_be_corrected() {
    let harness = harness().await;
    add_certificates(&harness);
    harness
        .database
        .query("UPDATE device_certificates SET serial_number = 'what' WHERE device_id = 'pump-1'");
    revoke(&harness, "pump-1");
    harness
        .database
        .query("UPDATE device_certificates SET serial_number = '0A01' WHERE device_id = 'pump-1'");
    assert_eq!(listed(&harness).await, ["0A01"]);
    harness.database.query(
        "UPDATE device_certificates SET revoked_reason = 'superseded' WHERE device_id = 'pump-1'",
    );
    assert_eq!(
        harness.database.value("SELECT revoked_reason FROM revoked_certificates"),
        "superseded"
    );
}
