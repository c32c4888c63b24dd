//! Who a device is: many questions, one query; and newcomers.

use sluice::domain::device::{DeviceStatus, MAX_WINDOWS};
use sluice::domain::ids::DeviceKey;
use sluice::domain::ports::{Directory, Newcomer};
use sluice::domain::token::TokenHash;

use super::harness;

fn key(tenant: &str, device: &str) -> DeviceKey {
    DeviceKey::new(tenant, device).unwrap()
}

#[tokio::test]
async fn answers_stand_in_the_order_of_the_questions() {
    let harness = harness().await;
    harness.database.query(
        "INSERT INTO tenants (tenant_id, name, status) VALUES ('a', 'A', 'ACTIVE'), ('s', 'S', 'SUSPENDED');
         INSERT INTO devices (tenant_id, device_id, site_id, status, provision_token_hash) VALUES
            ('a', 'plain', NULL, 'ACTIVE', NULL), ('a', 'full', 'hall', 'REVOKED', repeat('0f', 32)),
            ('s', 'plain', NULL, 'INACTIVE', NULL);
         INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer,
             status, not_before, not_after)
         SELECT gen_random_uuid(), 'a', 'full', encode(sha256(n::text::bytea), 'hex'), n, 'cn', 'ca',
             CASE n WHEN 20 THEN 'REVOKED' ELSE 'ACTIVE' END, CASE n WHEN 12 THEN '-infinity' ELSE '2020-01-01Z'::timestamptz END,
             CASE n WHEN 12 THEN 'infinity' WHEN 13 THEN '2021-01-01Z' 
             ELSE '2100-01-01Z'::timestamptz + CASE WHEN n > 20 THEN n - 100 ELSE n END * interval '1 day' END
         FROM generate_series(1, 60) n WHERE n < 14 OR n >= 20",
    );
    let directory = harness.store.directory();
    let asked = [
        key("s", "plain"),
        key("a", "nobody"),
        key("a", "full"),
        key("no", "body"),
        key("s", "x"),
        key("a", "plain"),
    ];
    let found = directory.find(&asked).await.unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|one| (one.tenant_suspended, one.device.as_ref().map(|device| device.status)))
        .collect();
    let expected = [
        (true, Some(DeviceStatus::Inactive)),
        (false, None),
        (false, Some(DeviceStatus::Revoked)),
        (false, None),
        (true, None),
        (false, Some(DeviceStatus::Active)),
    ];
    assert_eq!(seen, expected);
    let full = found[2].device.as_ref().unwrap();
    assert_eq!((full.site.as_deref(), full.token), (Some("hall"), Some(TokenHash([0x0f; 32]))));
    assert_eq!(full.certificates.len(), MAX_WINDOWS);
    let ends: Vec<String> = full
        .certificates
        .iter()
        .map(|window| window.not_after.to_string()[..10].to_owned())
        .collect();
    assert_eq!(ends[..3], ["9999-12-31", "2100-01-12", "2100-01-11"]);
    assert_eq!(full.certificates[0].not_before.to_string()[..10], *"0001-01-01");
    let plain = found[5].device.as_ref().unwrap();
    assert_eq!((&plain.site, &plain.token, plain.certificates.len()), (&None, &None, 0));
}

#[tokio::test]
async fn newcomers_are_enrolled_once_and_what_exists_is_left_as_it_is() {
    let harness = harness().await;
    harness.database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('a', 'Old');
         INSERT INTO devices (tenant_id, device_id, site_id, status) VALUES ('a', 'old', 'hall', 'REVOKED')",
    );
    let newcomer = |tenant, device, site: Option<&str>, token| Newcomer {
        key: key(tenant, device),
        site: site.map(Into::into),
        token,
    };
    let newcomers = [
        newcomer("b", "two", None, Some(TokenHash([7; 32]))),
        newcomer("a", "one", Some("roof"), None),
        newcomer("a", "one", Some("second thought"), None),
        newcomer("a", "old", Some("other"), None),
        newcomer("a", "nul", Some("a\0b"), None),
    ];
    let directory = harness.store.directory();
    directory.enroll(&newcomers).await.unwrap();
    directory.enroll(&newcomers).await.unwrap();
    let devices = harness.database.query(
        "SELECT tenant_id, device_id, site_id, status, left(provision_token_hash, 4) FROM devices ORDER BY 1, 2",
    );
    assert_eq!(
        devices,
        [
            ["a", "nul", "NULL", "ACTIVE", "NULL"],
            ["a", "old", "hall", "REVOKED", "NULL"],
            ["a", "one", "roof", "ACTIVE", "NULL"],
            ["b", "two", "NULL", "ACTIVE", "0707"],
        ]
    );
    assert_eq!(
        harness.database.query("SELECT tenant_id, name FROM tenants ORDER BY 1"),
        [["a", "Old"], ["b", "b"]]
    );
    let audit = harness
        .database
        .query("SELECT actor, action, tenant_id, device_id FROM audit_log ORDER BY 2, 3, 4");
    let by_itself = |action, tenant, device| ["auto-provision", action, tenant, device];
    let (device, tenant) = ("device.add", "tenant.add");
    assert_eq!(
        audit,
        [
            by_itself(device, "a", "nul"),
            by_itself(device, "a", "one"),
            by_itself(device, "b", "two"),
            by_itself(tenant, "b", "NULL")
        ]
    );
}
