//! A device reaches its own topics and no other's, and its status and its tenant's reach its live
//! session.

use super::acl_fixture::{AclFixture, TEMPLATE, is_refused, wait_current, wait_refused};

const OWN: &str = "tenant/acme/device/d0/telemetry";
const OWN_DOOR: &str = "tenant/acme/device/d0/door";

#[test]
fn each_device_is_limited_to_its_own_topics_and_to_its_status() {
    let form = if AclFixture::needs_rows() { "rows" } else { "patterns" };
    holds_in("auto", form);
}

#[test]
fn rows_hold_on_each_version() {
    holds_in("rows", "rows");
}

fn holds_in(mode: &str, form: &str) {
    let acl = AclFixture::new();
    let settings = acl.settings("sluice").set("BROKER_ACL_MODE", mode);
    let daemon = settings.start();
    wait_current(&daemon);
    assert_eq!(acl.database.value("SELECT mode FROM broker_acl_state"), form, "{}", acl.file());
    assert!(daemon.log().contains("Sluice wrote the broker's access rules"));
    let [mut d0, mut d1] = ["d0", "d1"].map(|device| acl.device(device));
    for topic in [OWN, "tenant/acme/device/d0/telemetry/fast", OWN_DOOR] {
        wait_refused(&mut d0, topic, false);
    }
    for topic in [
        "tenant/acme/device/d1/telemetry",
        "tenant/acme/device/d0/other",
        "tenant/acme/device/d0x/door",
        "x",
    ] {
        assert!(is_refused(&mut d0, topic), "{topic} in\n{}", acl.file());
    }
    let reads_its_commands =
        |acl: &AclFixture| acl.hears("acme/device/d0", "tenant/acme/device/d0/commands/c1");
    assert!(!acl.hears("acme/device/d1", "tenant/acme/device/d0/commands/c1"));

    let said =
        settings.run(&["device", "set-status", "acme", "d0", "INACTIVE", "--output", "json"]);
    assert!(said.contains("\"broker_rules_follow\": true"), "{said}");
    wait_refused(&mut d0, OWN, true);
    assert!(is_refused(&mut d0, OWN_DOOR) && !is_refused(&mut d1, "tenant/acme/device/d1/door"));
    assert!(!reads_its_commands(&acl), "{}", acl.file());
    settings.run(&["device", "set-status", "acme", "d0", "ACTIVE"]);
    wait_refused(&mut d0, OWN, false);

    acl.database.query("UPDATE tenants SET status = 'SUSPENDED'");
    wait_refused(&mut d0, OWN, true);
    wait_refused(&mut d1, "tenant/acme/device/d1/door", true);
    settings.run(&["tenant", "set-status", "acme", "ACTIVE"]);
    wait_refused(&mut d0, OWN, false);
    acl.database.query("UPDATE devices SET status = 'REVOKED' WHERE device_id = 'd0'");
    wait_refused(&mut d0, OWN, true);
    wait_refused(&mut d1, "tenant/acme/device/d1/door", false);

    let ended = acl.broker.log().matches("closing old connection").count();
    assert_eq!(ended, 0, "no session was ended for it");
    let told =
        settings.command(&["device", "set-status", "acme", "d0", "ACTIVE"]).output().unwrap();
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        told.contains("follow within seconds") && told.contains("`sluice cert revoke`"),
        "{told}"
    );
}

#[test]
fn without_access_rules_the_command_says_that_the_broker_is_not_notified() {
    let acl = AclFixture::new();
    let settings = acl.settings("sluice").set("ACL_OUTPUT_PATH", "");
    settings.run(&["migrate"]);
    let output = settings.command(&["tenant", "set-status", "acme", "SUSPENDED"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("the broker's access rules do not follow")
            && said.contains("`sluice cert revoke`"),
        "{said}"
    );
    assert_eq!(acl.file(), TEMPLATE);
}

#[test]
fn a_device_with_a_certificate_of_the_other_form_has_both_names() {
    let acl = AclFixture::new();
    let plain = "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, \
        common_name, issuer, not_before, not_after) VALUES (gen_random_uuid(), 'acme', 'd0', repeat('0a', 32), '1', \
        'acme/d0', 'CN=x', now() - interval '1 hour', now() + interval '1 day')";
    acl.database.query(plain);
    let daemon = acl.settings("sluice").set("BROKER_ACL_MODE", "rows").start();
    wait_current(&daemon);
    let file = acl.file();
    for user in ["acme/device/d0", "acme/d0", "acme/device/d1"] {
        assert!(
            file.contains(&format!("user {user}\ntopic write tenant/{}", file_topic(user))),
            "{user} in\n{file}"
        );
    }
    assert!(!file.contains("user acme/d1\n"), "{file}");
}

fn file_topic(user: &str) -> String {
    let device = user.rsplit_once('/').unwrap().1;
    format!("acme/device/{device}/telemetry/#\n")
}
