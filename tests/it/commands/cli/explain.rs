//! `sluice explain`: the verdict of each check, the reason, and an exit code for scripts; nothing
//! is stored.

use serde_json::Value;

use super::ended;
use crate::pipeline::fixture::sha256;
use crate::support::daemon::Settings;
use crate::support::postgres::Postgres;

const TOKEN: &str = "Secret-0f-the-device";

fn registry() -> String {
    format!(
        "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id, site_id, provision_token_hash) \
         VALUES ('acme', 'p1', 'north', '{}'), ('acme', 'bare', NULL, NULL)",
        sha256(TOKEN)
    )
}

/// The exit code and the answer about this message.
fn explained(settings: &Settings, path: &str, payload: &str) -> (i32, Value) {
    let file = settings.dir().write("payload", payload);
    let topic = format!("tenant/{path}");
    let line =
        ["explain", "--topic", &topic, "--payload", file.to_str().unwrap(), "--output", "json"];
    let (code, out, said) = ended(settings, &line);
    assert!(!out.contains(TOKEN) && !said.contains(TOKEN));
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{path}: {said}")))
}

#[test]
fn each_message_is_explained_with_the_reason_it_would_get() {
    let database = Postgres::shared().database();
    database.query(&registry());
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let accepted = format!(r#"{{"provision_token":"{TOKEN}"}}"#);
    let too_large = "x".repeat(20_000);
    let poison = format!(r#"{{"provision_token":"{TOKEN}","metrics":{{"a":"\u0000"}}}}"#);
    for (path, payload, reason) in [
        ("acme/device/p1/telemetry", accepted.as_str(), None),
        ("acme/device/p1/commands", "", None),
        ("acme/device/p1", "{}", Some("BAD_TOPIC_FORMAT")),
        ("acme/device/p1/telemetry", too_large.as_str(), Some("PAYLOAD_TOO_LARGE")),
        ("acme/device/p1/telemetry", "[]", Some("BAD_PAYLOAD")),
        ("acme/device/p1/telemetry", r#"{"ts":"never"}"#, Some("BAD_TIMESTAMP")),
        ("acme/device/nobody/telemetry", "{}", Some("UNREGISTERED_DEVICE")),
        (
            "acme/device/p1/telemetry",
            r#"{"site_id":"south"}"#,
            Some("SITE_MISMATCH_REGISTRY_VS_PAYLOAD"),
        ),
        ("acme/device/bare/telemetry", "{}", Some("TOKEN_NOT_SET_IN_REGISTRY")),
        ("acme/device/p1/telemetry", "{}", Some("TOKEN_MISSING")),
        ("acme/device/p1/telemetry", r#"{"provision_token":"x"}"#, Some("TOKEN_INVALID")),
        ("acme/device/p1/telemetry", poison.as_str(), Some("STORE_REJECTED")),
    ] {
        let (code, answer) = explained(&settings, path, payload);
        assert_eq!(
            (code, &answer["accepted"]),
            (i32::from(reason.is_some()), &reason.is_none().into()),
            "{answer:#}"
        );
        assert_eq!(answer["reason"], reason.map_or(Value::Null, Value::from), "{answer:#}");
        assert_checks(&answer, reason);
    }
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "0");
    assert_eq!(database.value("SELECT count(*) FROM quarantine_events"), "0");
}

/// Every check before the refusal passed or was not needed, none behind it was made.
fn assert_checks(answer: &Value, reason: Option<&str>) {
    let checks = answer["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 20);
    let refused_at =
        checks.iter().position(|check| Some(check["check"].as_str().unwrap()) == reason);
    assert_eq!(refused_at.is_some(), reason.is_some(), "{answer:#}");
    for (place, check) in checks.iter().enumerate() {
        let allowed: &[&str] = match refused_at {
            Some(at) if place == at => &["REFUSED"],
            Some(at) if place > at => &["not reached"],
            // Only the database can tell whether it takes the row.
            None if check["check"] == "STORE_REJECTED" => &["not tried", "not needed"],
            _ => &["passed", "not needed"],
        };
        assert!(allowed.contains(&check["verdict"].as_str().unwrap()), "{answer:#}");
    }
}

#[test]
fn an_unknown_device_is_explained_as_auto_provision_would_treat_it() {
    let database = Postgres::shared().database();
    database.query(
        "INSERT INTO tenants (tenant_id, name, status) VALUES ('dark', 'Dark', 'SUSPENDED')",
    );
    let settings =
        Settings::empty().set("DATABASE_URL", &database.url()).set("AUTO_PROVISION", "1");
    let with_token = r#"{"provision_token":"any"}"#;
    for (path, payload, reason) in [
        ("acme/device/new/telemetry", with_token, Value::Null),
        ("acme/device/new/telemetry", "{}", "UNREGISTERED_DEVICE".into()),
        ("dark/device/new/telemetry", with_token, "TENANT_SUSPENDED".into()),
    ] {
        assert_eq!(explained(&settings, path, payload).1["reason"], reason, "{path} {payload}");
    }
    assert_eq!(database.value("SELECT count(*) FROM devices"), "0");
}

#[test]
fn people_read_a_table_and_the_reason_below_it() {
    let database = Postgres::shared().database();
    database.query(&registry());
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let file = settings.dir().write("payload", "{}");
    let line = [
        "explain",
        "--topic",
        "tenant/acme/device/p1/telemetry",
        "--payload",
        file.to_str().unwrap(),
    ];
    let (code, out, _) = ended(&settings, &line);
    assert_eq!(code, 1);
    assert!(out.contains("refused: TOKEN_MISSING: provision_token is missing"), "{out}");
}
