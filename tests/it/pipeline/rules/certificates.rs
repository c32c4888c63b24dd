//! `CERT_AUTH_ENABLED`: a certificate of the registry authenticates its device exactly as long as
//! it is good, and a token only where none is.

use crate::pipeline::fixture::{Pipeline, assert_same, sha256, sorted};
use crate::support::wait;

const TOKEN: &str = "token-of-the-fallback";

/// Status, beginning and end, in SQL.
type Certificate = (&'static str, &'static str, &'static str);

/// Name, whether it has a token, and its certificates.
const DEVICES: [(&str, bool, &[Certificate]); 7] = [
    ("active", false, &[("ACTIVE", "now() - interval '1 hour'", "now() + interval '1 hour'")]),
    ("eternal", false, &[("ACTIVE", "'-infinity'", "'infinity'")]),
    ("early", true, &[("ACTIVE", "now() + interval '1 hour'", "now() + interval '2 hours'")]),
    ("late", true, &[("ACTIVE", "now() - interval '2 hours'", "now() - interval '1 hour'")]),
    ("revoked", true, &[("REVOKED", "now() - interval '1 hour'", "now() + interval '1 hour'")]),
    ("none", true, &[]),
    (
        "rotated",
        false,
        &[
            ("REVOKED", "now() - interval '1 hour'", "now() + interval '1 hour'"),
            ("ACTIVE", "now() + interval '1 hour'", "now() + interval '2 hours'"),
            ("ACTIVE", "now() - interval '1 hour'", "now() + interval '1 minute'"),
        ],
    ),
];

fn registry() -> String {
    let hash = sha256(TOKEN);
    let mut sql = vec!["INSERT INTO tenants VALUES ('acme', 'Acme');".to_owned()];
    for (name, has_token, certificates) in DEVICES {
        let token = if has_token { format!("'{hash}'") } else { "NULL".to_owned() };
        let columns = "tenant_id, device_id, provision_token_hash";
        sql.push(format!("INSERT INTO devices ({columns}) VALUES ('acme', '{name}', {token});"));
        sql.extend(
            certificates.iter().map(|(status, from, until)| certificate(name, status, from, until)),
        );
    }
    // The certificate of another device proves nothing.
    sql.push("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'neighbour')".to_owned());
    sql.concat()
}

fn certificate(device: &str, status: &str, from: &str, until: &str) -> String {
    format!(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, \
         issuer, status, not_before, not_after) SELECT id, 'acme', '{device}', encode(sha256(id::text::bytea), 'hex'), \
         id::text, 'acme/device/{device}', 'CN=test', '{status}', {from}, {until} FROM gen_random_uuid() AS id;"
    )
}

/// Each device once without a token and once with it.
fn all_speak(pipeline: &mut Pipeline) {
    let names = DEVICES.iter().map(|(name, ..)| *name).chain(["neighbour"]);
    for name in names {
        pipeline.publish(&format!("acme/device/{name}/bare"), "{}");
        pipeline.publish(
            &format!("acme/device/{name}/token"),
            format!(r#"{{"provision_token":"{TOKEN}"}}"#),
        );
    }
    pipeline.settle();
}

const OUTCOMES: &str = "SELECT device_id || ' ' || msg_type, 'stored' FROM telemetry UNION ALL \
    SELECT device_id || ' ' || msg_type, reason FROM quarantine_events ORDER BY 1";

#[test]
fn a_good_certificate_is_proof_enough_and_without_one_the_token_counts() {
    let mut pipeline = Pipeline::new(&[("CERT_AUTH_ENABLED", "1")], &registry());
    all_speak(&mut pipeline);
    let mut expected = vec![];
    for name in ["active", "eternal", "rotated"] {
        expected.extend([(name, "bare", "stored"), (name, "token", "stored")]);
    }
    for name in ["early", "late", "revoked", "none"] {
        expected.extend([(name, "bare", "TOKEN_MISSING"), (name, "token", "stored")]);
    }
    expected.extend(["bare", "token"].map(|word| ("neighbour", word, "TOKEN_NOT_SET_IN_REGISTRY")));
    let expected: Vec<_> =
        expected.iter().map(|(name, word, end)| (format!("{name} {word}"), *end)).collect();
    assert_same(
        &pipeline.pairs(OUTCOMES),
        &sorted(expected.iter().map(|(name, end)| (name.as_str(), *end))),
    );
}

#[test]
fn where_no_token_counts_only_a_good_certificate_does() {
    let mut pipeline =
        Pipeline::new(&[("CERT_AUTH_ENABLED", "1"), ("REQUIRE_TOKEN", "0")], &registry());
    all_speak(&mut pipeline);
    let stored = "SELECT DISTINCT device_id, 'stored' FROM telemetry ORDER BY 1";
    assert_same(
        &pipeline.pairs(stored),
        &sorted(["active", "eternal", "rotated"].map(|name| (name, "stored"))),
    );
    let refused = "SELECT reason, count(*)::text FROM quarantine_events GROUP BY 1";
    assert_same(&pipeline.pairs(refused), &sorted([("TOKEN_MISSING", "10")]));
    assert!(
        pipeline.refused("device_id = 'none' AND msg_type = 'bare'")["detail"]
            .as_str()
            .unwrap()
            .contains("certificate")
    );
}

#[test]
fn where_certificates_do_not_count_none_is_looked_at() {
    let mut pipeline = Pipeline::new(&[("REQUIRE_TOKEN", "1")], &registry());
    all_speak(&mut pipeline);
    let stored = "SELECT device_id, msg_type FROM telemetry ORDER BY 1";
    assert_same(
        &pipeline.pairs(stored),
        &sorted(["early", "late", "revoked", "none"].map(|name| (name, "token"))),
    );
}

#[test]
fn a_cached_grant_begins_and_ends_with_its_certificate() {
    let mut pipeline = Pipeline::new(&[("CERT_AUTH_ENABLED", "1")], &registry());
    pipeline
        .database
        .query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'ending'), ('acme', 'beginning');");
    let soon = "now() + interval '3 seconds'";
    pipeline.database.query(
        &(certificate("ending", "ACTIVE", "now() - interval '1 day'", soon)
            + &certificate("beginning", "ACTIVE", soon, "now() + interval '1 day'")),
    );
    let end = "SELECT not_after FROM device_certificates WHERE device_id = 'ending'";
    // Both publish until the one is refused and the other accepted; the entries stay cached all the
    // while.
    wait::until("one grant has ended and the other begun", || {
        for device in ["ending", "beginning"] {
            pipeline.publish(&format!("acme/device/{device}/telemetry"), "{}");
        }
        pipeline.settle();
        let ended =
            pipeline.value("SELECT count(*) FROM quarantine_events WHERE device_id = 'ending'");
        let begun = pipeline.value("SELECT count(*) FROM telemetry WHERE device_id = 'beginning'");
        ended != "0" && begun != "0"
    });
    assert!(pipeline.daemon.metric("sluice_auth_cache_hits") > 1.0);
    for (table, device, order) in [
        ("telemetry", "ending", "<"),
        ("quarantine_events", "beginning", "<"),
        ("quarantine_events", "ending", ">="),
        ("telemetry", "beginning", ">="),
    ] {
        // The judge looks at its clock once for a batch, a moment after receipt; a refusal may be
        // that much early.
        let slack = if order == ">=" { "interval '1 second'" } else { "interval '0'" };
        let sql = format!(
            "SELECT (count(*) > 0 AND bool_and(received_at + {slack} {order} ({end})))::text \
             FROM {table} WHERE device_id = '{device}'"
        );
        assert_eq!(pipeline.value(&sql), "true", "{table} {device}");
    }
}
