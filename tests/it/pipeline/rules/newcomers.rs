//! `AUTO_PROVISION`: who is registered by speaking, with what, and who is not.

use crate::pipeline::fixture::{Pipeline, assert_same, sha256, sorted, to};

const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name, status) \
    VALUES ('acme', 'Acme', 'ACTIVE'), ('dark', 'Dark', 'SUSPENDED')";

fn with_token(token: &str) -> String {
    format!(r#"{{"provision_token":"{token}","site_id":"north"}}"#)
}

#[test]
fn an_unknown_device_is_registered_by_its_first_valid_message() {
    let mut pipeline = Pipeline::new(&[("AUTO_PROVISION", "1")], REGISTRY);
    pipeline.send(&[
        to("acme/device/new/telemetry", with_token("first")),
        to("acme/device/new/telemetry", with_token("second")),
        to("acme/device/bare/telemetry", "{}"),
        to("acme/device/empty/telemetry", with_token("")),
        to("acme/device/broken/telemetry", "{"),
        to("acme/device/broken/telemetry", r#"{"ts":1}"#),
        to("fresh/device/d1/telemetry", with_token("fresh")),
        to("fresh/device/d2/telemetry", with_token("fresh")),
        to("dark/device/new/telemetry", with_token("dark")),
    ]);
    pipeline.settle();
    pipeline.publish("acme/device/new/telemetry", with_token("first"));
    pipeline.settle();

    let devices = "SELECT tenant_id || ' ' || device_id || ' ' || coalesce(site_id, '-'), \
        coalesce(provision_token_hash, '-') FROM devices ORDER BY 1";
    let (first, fresh) = (sha256("first"), sha256("fresh"));
    let expected =
        [("acme new north", &*first), ("fresh d1 north", &fresh), ("fresh d2 north", &fresh)];
    assert_same(&pipeline.pairs(devices), &sorted(expected));
    let stored = "SELECT tenant_id || ' ' || device_id, count(*)::text FROM telemetry GROUP BY 1";
    assert_same(
        &pipeline.pairs(stored),
        &sorted([("acme new", "2"), ("fresh d1", "1"), ("fresh d2", "1")]),
    );
    let refused = "SELECT tenant_id || ' ' || device_id, string_agg(reason, ' ' ORDER BY reason) \
        FROM quarantine_events GROUP BY 1";
    let expected = [
        ("acme new", "TOKEN_INVALID"),
        ("acme bare", "UNREGISTERED_DEVICE"),
        ("acme empty", "UNREGISTERED_DEVICE"),
        ("acme broken", "BAD_PAYLOAD TIMESTAMP_OUT_OF_RANGE"),
        ("dark new", "TENANT_SUSPENDED"),
    ];
    assert_same(&pipeline.pairs(refused), &sorted(expected));
    assert_eq!(pipeline.value("SELECT count(*) FROM tenants"), "3");
    let audited =
        "SELECT action, count(*)::text FROM audit_log WHERE actor = 'auto-provision' GROUP BY 1";
    assert_same(&pipeline.pairs(audited), &sorted([("device.add", "3"), ("tenant.add", "1")]));
}

#[test]
fn a_message_that_would_be_refused_anyway_registers_no_device() {
    let mut pipeline = Pipeline::new(
        &[("AUTO_PROVISION", "1"), ("CERT_AUTH_ENABLED", "1"), ("REQUIRE_TOKEN", "0")],
        REGISTRY,
    );
    pipeline.send(&[
        to("acme/device/new/telemetry", "{}"),
        to("acme/device/other/telemetry", with_token("any")),
    ]);
    pipeline.settle();
    assert_eq!(pipeline.value("SELECT count(*) FROM devices"), "0");
    let refused = "SELECT device_id, reason FROM quarantine_events";
    assert_same(
        &pipeline.pairs(refused),
        &sorted([("new", "UNREGISTERED_DEVICE"), ("other", "UNREGISTERED_DEVICE")]),
    );
}

#[test]
fn the_first_message_with_a_token_registers_even_after_one_without() {
    let mut pipeline = Pipeline::new(
        &[("AUTO_PROVISION", "1"), ("AUTH_CACHE_NEGATIVE_TTL_SECONDS", "3600")],
        REGISTRY,
    );
    pipeline.publish("acme/device/new/telemetry", "{}");
    pipeline.settle();
    assert_eq!(pipeline.value("SELECT reason FROM quarantine_events"), "UNREGISTERED_DEVICE");
    pipeline.publish("acme/device/new/telemetry", with_token("mine"));
    pipeline.settle();
    assert_eq!(pipeline.value("SELECT provision_token_hash FROM devices"), sha256("mine"));
    assert_eq!(pipeline.ended("stored"), 1);
}

#[test]
fn without_it_an_unknown_device_stays_unknown_until_somebody_adds_it() {
    let mut pipeline = Pipeline::new(&[("REQUIRE_TOKEN", "0")], REGISTRY);
    pipeline.publish("acme/device/new/telemetry", "{}");
    pipeline.settle();
    assert_eq!(pipeline.value("SELECT count(*) FROM devices"), "0");
    assert_eq!(pipeline.value("SELECT reason FROM quarantine_events"), "UNREGISTERED_DEVICE");
    // The answer was cached for 30 s; adding the device does not wait for that.
    pipeline.database.query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'new')");
    pipeline.daemon.wait_metric("sluice_auth_invalidations_total", 1.0);
    pipeline.publish("acme/device/new/telemetry", "{}");
    pipeline.settle();
    assert_eq!(pipeline.ended("stored"), 1);
}
