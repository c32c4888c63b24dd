//! Certificates that ended long ago leave the registry and its cells; what still matters stays.

use super::cell_rig::{CellRig, Servers};
use crate::support::daemon::Settings;

/// `number` names the row: a hexadecimal digit. The end is so many days ago.
fn certificate(number: char, status: &str, days_ago: i32, reason: &str, replaces: &str) -> String {
    format!(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
             not_before, not_after, status, revoked_at, revoked_reason, replaces) \
         VALUES (('{}')::uuid, 'acme', 'pump-1', repeat('{number}', 64), '0{number}', 'cn', 'CN=north', \
             now() - interval '400 days', now() - interval '{days_ago} days', '{status}', \
             CASE '{status}' WHEN 'REVOKED' THEN now() - interval '300 days' END, {reason}, {replaces});",
        uuid(number)
    )
}

fn uuid(number: char) -> String {
    format!("00000000-0000-0000-0000-00000000000{number}")
}

const LEFT: &str = "SELECT string_agg(right(id::text, 1), '' ORDER BY id) FROM device_certificates";

fn clean(settings: &Settings) -> String {
    settings.clone().set("CERTIFICATE_RETENTION_DAYS", "30").run(&["retention", "--yes"])
}

#[test]
fn certificates_that_ended_long_ago_leave_the_registry_and_its_cells() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    let (none, old) = ("NULL", "'superseded'");
    let replaces = |number| format!("'{}'", uuid(number));
    for row in [
        certificate('1', "EXPIRED", 100, none, none),
        certificate('2', "REVOKED", 90, old, &replaces('1')),
        certificate('3', "EXPIRED", 20, none, &replaces('2')),
        certificate('4', "REVOKED", 90, "'keyCompromise'", none),
        certificate('5', "REVOKED", -90, old, none),
        certificate('6', "ACTIVE", -90, none, none),
        // Its predecessor is there, and may be asked to renew again.
        certificate('7', "REVOKED", 90, old, &replaces('3')),
        certificate('8', "REVOKED", 20, "'cessationOfOperation'", none),
    ] {
        rig.registry.query(&row);
    }
    rig.registry
        .query("UPDATE certificate_revocations SET noticed_at = now() - interval '300 days'");
    rig.join();
    rig.wait_equal(LEFT);
    rig.cell.wait_until("SELECT count(*) FROM certificate_revocations", "5");
    rig.cell.query("UPDATE certificate_revocations SET noticed_at = now() - interval '300 days'");

    let said = clean(&rig.settings);
    assert!(said.contains("0 certificates"), "a cell deletes no row of the registry: {said}");
    assert_eq!(rig.cell.value(LEFT), "12345678");
    let registry = rig.settings.clone().set("DATABASE_URL", &rig.registry.url());
    let kept = registry.run(&["retention", "--yes"]);
    assert!(kept.contains("0 certificates"), "the default keeps all: {kept}");
    assert_eq!(rig.registry.value(LEFT), "12345678");

    // A CRL of the issuer that was made before their end would have to list them once more.
    rig.registry.query(
        "UPDATE crl_state SET issuer = 'CN=north', published_at = now() - interval '95 days'",
    );
    let said = clean(&registry);
    assert!(said.contains("2 certificates"), "{said}");
    assert_eq!(rig.registry.value(LEFT), "345678");
    let revoked =
        "SELECT string_agg(serial_number, ' ' ORDER BY serial_number) FROM revoked_certificates";
    assert_eq!(rig.registry.value(revoked), "02 04 05 07 08");
    rig.registry.query("UPDATE crl_state SET published_at = now()");
    assert!(clean(&registry).contains("0 certificates"));
    assert_eq!(rig.registry.value(revoked), "05 08");
    assert_eq!(rig.registry.value("SELECT count(*) FROM certificate_revocations"), "2");
    let noted = "SELECT string_agg(detail ->> 'certificates', ' ' ORDER BY id) FROM audit_log \
        WHERE action = 'certificate.purge' AND actor = 'keeper'";
    assert_eq!(rig.registry.value(noted), "1 1", "a successor is due after its predecessor");

    rig.wait_equal(LEFT);
    rig.wait_equal(revoked);
    clean(&rig.settings);
    assert_eq!(rig.cell.value("SELECT count(*) FROM certificate_revocations"), "2");
}
