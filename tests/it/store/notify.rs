//! A mass change of the registry: few notifications, of which none is missing; and the notifications of
//! a subscriber of logical replication.

use std::collections::BTreeSet;

use sqlx::postgres::PgListener;

use super::{StoreHarness, harness};

/// Devices of a mass change.
const MANY: usize = 20_000;

async fn listener(harness: &StoreHarness<'_>) -> PgListener {
    let mut listener = PgListener::connect(&harness.database.url()).await.unwrap();
    listener.listen("sluice_invalidate").await.unwrap();
    listener
}

/// What the statements notify, in order.
async fn notified(harness: &StoreHarness<'_>, listener: &mut PgListener, sql: &str) -> Vec<String> {
    harness.database.query(sql);
    harness.database.query("NOTIFY sluice_invalidate, 'end'");
    let mut payloads = Vec::new();
    loop {
        let payload = listener.recv().await.unwrap().payload().to_owned();
        if payload == "end" {
            return payloads;
        }
        payloads.push(payload);
    }
}

/// Fills the registry with devices `d1` and following, spread over the tenants `t0` and following.
fn fill(tenants: usize, devices: usize) -> String {
    format!(
        "INSERT INTO tenants (tenant_id, name) SELECT 't' || n, '' FROM generate_series(0, {tenants} - 1) n;
         INSERT INTO devices (tenant_id, device_id)
             SELECT 't' || n % {tenants}, 'd' || n FROM generate_series(1, {devices}) n;
         INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer,
             not_before, not_after)
         SELECT gen_random_uuid(), tenant_id, device_id, encode(sha256((tenant_id || device_id)::bytea), 'hex'), device_id,
             'cn', 'ca', now(), now() + interval '1 day' FROM devices LIMIT 1000"
    )
}

#[tokio::test]
async fn a_mass_change_is_a_few_notifications_and_a_small_one_names_each_device() {
    let harness = harness().await;
    let mut listener = listener(&harness).await;
    let filled = notified(&harness, &mut listener, &fill(2, MANY)).await;
    let tenants = ["t0/*", "t1/*"].map(str::to_owned);
    assert_eq!(filled.iter().cloned().collect::<BTreeSet<_>>(), tenants.clone().into());
    assert!(filled.len() <= 6, "one line a tenant and statement: {filled:?}");

    for mass in [
        "UPDATE devices SET status = 'INACTIVE'",
        "UPDATE device_certificates SET status = 'EXPIRED'",
        "DELETE FROM device_certificates WHERE tenant_id IN ('t0', 't1')",
        "DELETE FROM devices WHERE device_id > 'd2'",
    ] {
        let heard = notified(&harness, &mut listener, mass).await;
        assert_eq!(
            heard.iter().cloned().collect::<BTreeSet<_>>(),
            tenants.clone().into(),
            "{mass}"
        );
    }

    harness.database.query("DELETE FROM devices");
    harness.database.query(
        "INSERT INTO devices (tenant_id, device_id) SELECT 't0', 'e' || n FROM generate_series(1, 101) n",
    );
    notified(&harness, &mut listener, "SELECT").await;
    let hundred = "UPDATE devices SET site_id = 's' WHERE device_id <> 'e101'";
    let heard = notified(&harness, &mut listener, hundred).await;
    assert_eq!((heard.len(), heard.contains(&"t0/device/e7".to_owned())), (100, true), "{heard:?}");
    let heard = notified(&harness, &mut listener, "UPDATE devices SET site_id = 'r'").await;
    assert_eq!(heard, ["t0/*"]);
    let renamed = "UPDATE devices SET device_id = 'f' || device_id";
    let heard = notified(&harness, &mut listener, renamed).await;
    assert!(heard.contains(&"t0/*".to_owned()) && heard.len() <= 201, "{heard:?}");
}

#[tokio::test]
async fn a_change_of_more_than_a_hundred_tenants_is_one_line() {
    let harness = harness().await;
    let mut listener = listener(&harness).await;
    let heard = notified(&harness, &mut listener, &fill(101, 1_010)).await;
    assert_eq!(heard.iter().map(String::as_str).collect::<BTreeSet<_>>(), ["*"].into());
    let heard = notified(&harness, &mut listener, "UPDATE devices SET status = 'INACTIVE'").await;
    assert_eq!(heard, ["*"]);
}

#[tokio::test]
async fn a_hash_of_a_key_that_is_filled_changes_nothing_that_is_cached() {
    let harness = harness().await;
    let mut listener = listener(&harness).await;
    notified(&harness, &mut listener, &fill(1, 200)).await;
    let filled = "UPDATE device_certificates SET public_key_sha256 = repeat('a', 64)";
    assert_eq!(notified(&harness, &mut listener, filled).await, [""; 0]);
    let both = "UPDATE device_certificates SET public_key_sha256 = '', status = 'REVOKED' WHERE device_id = 'd1'";
    assert_eq!(notified(&harness, &mut listener, both).await, ["t0/device/d1"]);
}

/// A subscriber applies rows as a replica does: no statement is executed there.
#[tokio::test]
async fn a_subscriber_notifies_each_applied_row_once_and_a_mass_change_in_few_lines() {
    let harness = harness().await;
    let mut listener = listener(&harness).await;
    notified(&harness, &mut listener, &fill(2, 500)).await;
    let applied = |sql: &str| format!("SET session_replication_role = replica; {sql}");
    let one = applied("UPDATE devices SET status = 'INACTIVE' WHERE device_id = 'd7'");
    // The statement triggers do not fire in this role, as none fires for an applied row.
    assert_eq!(notified(&harness, &mut listener, &one).await, ["t1/device/d7"]);
    let mass = applied("UPDATE devices SET status = 'REVOKED'");
    let heard = notified(&harness, &mut listener, &mass).await;
    assert_eq!(heard.len(), 102, "{heard:?}");
    assert!(["t0/*", "t1/*"].iter().all(|it| heard.iter().any(|heard| heard == it)), "{heard:?}");
    let emptied = applied("TRUNCATE device_certificates");
    assert_eq!(notified(&harness, &mut listener, &emptied).await, ["*"]);
}
