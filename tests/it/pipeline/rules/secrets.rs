//! A token that was sent is nowhere afterwards: not in a table, however the payload was bent, not
//! in a log, not in a metric.

use crate::pipeline::fixture::{Pipeline, sha256, to};
use crate::support::postgres::PASSWORD;

const TOKEN: &str = "S3cret-token-0f-p1";

/// Payloads that carry it, good and bad. Where the message is bent, the token stays in one piece.
fn payloads() -> Vec<Vec<u8>> {
    let field = format!(r#""provision_token":"{TOKEN}""#);
    let texts = [
        // Accepted.
        format!("{{{field}}}"),
        format!(r#"{{"metrics":{{"t":1}},"extra":"kept",{field}}}"#),
        format!(r#"{{"provision\u005ftoken":"{TOKEN}"}}"#),
        // Refused for what is around it.
        format!(r#"{{"version":"9",{field}}}"#),
        format!(r#"{{"ts":"never",{field}}}"#),
        format!(r#"{{"tenant_id":"x",{field}}}"#),
        format!(r#"{{"metrics":{{"a":"\u0000"}},{field}}}"#),
        format!(r#"{{"metrics":[],{field}}}"#),
        format!("{{{field},{field}}}"),
        // Refused for what it is.
        format!("{{{field}"),
        format!(r#"{{"provision_token":"{TOKEN}"#),
        format!(r#"{{"provision_token":["{TOKEN}"]}}"#),
        format!(r#"{{"provision_token":{{"a":"{TOKEN}"}}}}"#),
        format!("{{provision_token:{TOKEN}}}"),
        format!("{{'provision_token':'{TOKEN}'}}"),
        format!("[{{{field}}}]"),
        format!("provision_token={TOKEN}"),
        format!(r#"{{"provision_token":"{TOKEN}-and-more"}}"#),
        format!(r#"{{"provision_token" : "{TOKEN}\"quoted\""}}"#),
        // Refused for its size.
        format!(r#"{{{field},"x":"{}"}}"#, "x".repeat(20_000)),
        format!(r#"{{"x":"{}",{field}}}"#, "x".repeat(20_000)),
    ];
    let mut payloads: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    payloads.push([b"\xff{", field.as_bytes(), b"}"].concat());
    payloads
}

/// As Postgres shows the bytes.
fn in_hex(text: &str) -> String {
    text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[test]
fn no_token_is_left_in_any_table_in_the_log_or_in_a_metric() {
    let hash = sha256(TOKEN);
    let registry = format!(
        "INSERT INTO tenants VALUES ('acme', 'Acme'); \
         INSERT INTO devices (tenant_id, device_id, provision_token_hash) VALUES ('acme', 'p1', '{hash}'), ('acme', 'p2', NULL)"
    );
    let settings = [
        ("AUTO_PROVISION", "1"),
        ("KEEP_EXTRA_FIELDS", "1"),
        ("LOG_LEVEL", "trace"),
        ("ADMIN_TOKEN", "admin-secret-of-the-test"),
    ];
    let mut pipeline = Pipeline::new(&settings, &registry);
    for device in ["p1", "p2", "new", "bad name"] {
        for message_type in ["telemetry", "shadow/reported", "commands/ack"] {
            let path = format!("acme/device/{device}/{message_type}");
            pipeline.send(&payloads().iter().map(|payload| to(&path, payload)).collect::<Vec<_>>());
        }
    }
    pipeline.settle();

    assert!(pipeline.ended("stored") >= 6 && pipeline.ended("quarantined") > 200);
    let tables = pipeline.database.query(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    );
    assert!(tables.len() > 10);
    let hex = in_hex(TOKEN);
    for table in tables.iter().flatten() {
        let sql = format!(
            "SELECT t::text FROM {table} t WHERE t::text LIKE '%{TOKEN}%' OR t::text LIKE '%{hex}%'"
        );
        assert_eq!(pipeline.database.query(&sql), Vec::<Vec<String>>::new(), "{table}");
    }
    // The scan sees what is in a bytea: the field's name is there, and so is the mask.
    let mask = in_hex("\"[redacted]\"");
    let masked =
        format!("SELECT count(*) > 200 FROM quarantine_events q WHERE q::text LIKE '%{mask}%'");
    assert_eq!(pipeline.value(&masked), "t");
    let (log, metrics) = (pipeline.daemon.log(), pipeline.daemon.get("/metrics").unwrap().1);
    for secret in [TOKEN, &hash, PASSWORD, "admin-secret-of-the-test"] {
        assert!(!log.contains(secret) && !metrics.contains(secret), "{secret}");
    }
}
