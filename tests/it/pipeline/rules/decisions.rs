//! The table of decisions: each reason in its order, what quarantine keeps of a refused message,
//! and exact counts.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pipeline::fixture::{Pipeline, assert_same, sha256, sorted};

const TOKEN: &str = "the-right-token";
const WRONG: &str = "some-wrong-token";
const SETTINGS: [(&str, &str); 4] = [
    ("MAX_PAYLOAD_BYTES", "200"),
    ("RATE_LIMIT_RPS", "0.0001"),
    ("RATE_LIMIT_BURST", "1"),
    // A token counts where no certificate is held, so both are on.
    ("CERT_AUTH_ENABLED", "1"),
];

/// A message and the reason it must get. It fails the check of that reason and, wherever that can
/// be, each one behind it.
struct Step {
    path: &'static str,
    payload: String,
    reason: &'static str,
    /// What its detail says.
    words: &'static str,
    /// What quarantine keeps of its payload: `event_ts` and `site_id`, `NULL` for nothing.
    told: [&'static str; 2],
    /// The token it carried, as far as that could be read.
    token: Option<&'static str>,
}

fn registry() -> String {
    let hash = sha256(TOKEN);
    format!(
        "INSERT INTO tenants (tenant_id, name, status) \
             VALUES ('acme', 'Acme', 'ACTIVE'), ('dark', 'Dark', 'SUSPENDED'); \
         INSERT INTO devices (tenant_id, device_id, site_id, status, provision_token_hash) VALUES \
             ('dark', 'known', 'north', 'REVOKED', NULL), ('acme', 'revoked', 'north', 'REVOKED', NULL), \
             ('acme', 'off', 'north', 'INACTIVE', NULL), ('acme', 'bare', 'north', 'ACTIVE', NULL), \
             ('acme', 'good', 'north', 'ACTIVE', '{hash}'), ('acme', 'quick', 'north', 'ACTIVE', '{hash}'), \
             ('acme', 'odd', NULL, 'ACTIVE', '{hash}')"
    )
}

const fn step(
    path: &'static str,
    payload: String,
    reason: &'static str,
    words: &'static str,
) -> Step {
    Step { path, payload, reason, words, told: ["NULL"; 2], token: None }
}

/// Fields that are all wrong, in JSON without the braces.
fn wrong_fields() -> String {
    format!(
        r#""tenant_id":"other","device_id":"other","ts":"never","site_id":"south","provision_token":"{WRONG}""#
    )
}

/// The same without the first two, which contradict the topic.
fn wrong_timestamp() -> String {
    wrong_fields().replace(r#""tenant_id":"other","device_id":"other","#, "")
}

/// A step whose payload gave away its site and its token.
fn told(step: Step) -> Step {
    Step { told: ["NULL", "south"], token: Some(WRONG), ..step }
}

const UNKNOWN: &str = "dark/device/unknown";
const KNOWN: &str = "dark/device/known";

fn path(device: &str, name: &str) -> &'static str {
    format!("{device}/{name}").leak()
}

/// What topic and payload show without the registry.
fn steps_of_the_payload() -> Vec<Step> {
    let all = wrong_fields();
    let without_tenant = all.replace(r#""tenant_id":"other","#, "");
    vec![
        step("dark/device/un known/t1", "x".repeat(201), "BAD_TOPIC_FORMAT", "device: "),
        step(
            path(UNKNOWN, "t2"),
            "x".repeat(201),
            "PAYLOAD_TOO_LARGE",
            "201 bytes; MAX_PAYLOAD_BYTES is 200",
        ),
        told(step(
            path(UNKNOWN, "t3"),
            format!(r#"{{"version":"2","seq":-1,{all}}}"#),
            "BAD_PAYLOAD",
            "seq must be",
        )),
        told(step(
            path(UNKNOWN, "t4"),
            format!(r#"{{"version":"2",{all}}}"#),
            "UNSUPPORTED_VERSION",
            "version must be \"1\"",
        )),
        told(step(
            path(UNKNOWN, "t4a"),
            format!(r#"{{"version":1,{all}}}"#),
            "UNSUPPORTED_VERSION",
            "version must be \"1\"",
        )),
        told(step(
            path(UNKNOWN, "t5"),
            format!("{{{all}}}"),
            "TENANT_MISMATCH_TOPIC_VS_PAYLOAD",
            "tenant_id is not",
        )),
        told(step(
            path(KNOWN, "t6"),
            format!("{{{without_tenant}}}"),
            "DEVICE_MISMATCH_TOPIC_VS_PAYLOAD",
            "device_id is not",
        )),
    ]
}

/// Timestamps that are no time, too old and too far ahead.
fn steps_of_the_timestamp() -> Vec<Step> {
    let never = wrong_timestamp();
    let early = never.replace(r#""never""#, "1");
    let late = never.replace(r#""never""#, r#""9999-12-31T23:59:59Z""#);
    let too_old =
        step(path(KNOWN, "t8"), format!("{{{early}}}"), "TIMESTAMP_OUT_OF_RANGE", "MAX_AGE_DAYS");
    let ahead = step(
        path(UNKNOWN, "t8a"),
        format!("{{{late}}}"),
        "TIMESTAMP_OUT_OF_RANGE",
        "MAX_CLOCK_SKEW_SECONDS",
    );
    vec![
        told(step(path(KNOWN, "t7"), format!("{{{never}}}"), "BAD_TIMESTAMP", "RFC 3339")),
        Step { told: ["1970-01-01 00:00:01", "south"], ..told(too_old) },
        Step { told: ["9999-12-31 23:59:59", "south"], ..told(ahead) },
    ]
}

/// What the registry says, and the proof.
fn steps_of_the_registry() -> Vec<Step> {
    // jsonb cannot store it: the last check of all would fail too.
    let poison = r#""metrics":{"a":"\u0000"}"#;
    let elsewhere = || format!(r#"{{"site_id":"south",{poison}}}"#);
    let south = |step: Step| Step { told: ["NULL", "south"], ..step };
    let wrong = || format!(r#"{{"provision_token":"{WRONG}",{poison}}}"#);
    let right = || format!(r#"{{"provision_token":"{TOKEN}",{poison}}}"#);
    vec![
        south(step("dark/device/unknown/t9", elsewhere(), "TENANT_SUSPENDED", "suspended")),
        south(step("dark/device/known/t9a", elsewhere(), "TENANT_SUSPENDED", "suspended")),
        south(step(
            "acme/device/unknown/t10",
            elsewhere(),
            "UNREGISTERED_DEVICE",
            "not in the registry",
        )),
        south(step(
            "nobody/device/unknown/t10a",
            elsewhere(),
            "UNREGISTERED_DEVICE",
            "not in the registry",
        )),
        south(step("acme/device/revoked/t11", elsewhere(), "DEVICE_REVOKED", "revoked")),
        south(step("acme/device/off/t12", elsewhere(), "DEVICE_INACTIVE", "deactivated")),
        south(step(
            "acme/device/bare/t13",
            elsewhere(),
            "SITE_MISMATCH_REGISTRY_VS_PAYLOAD",
            "north, the site in the registry",
        )),
        step(
            "acme/device/bare/t14",
            format!("{{{poison}}}"),
            "TOKEN_NOT_SET_IN_REGISTRY",
            "sluice device set-token",
        ),
        step(
            "acme/device/good/t15",
            format!("{{{poison}}}"),
            "TOKEN_MISSING",
            "provision_token is missing",
        ),
        Step {
            token: Some(WRONG),
            ..step("acme/device/good/t16", wrong(), "TOKEN_INVALID", "not the token of the device")
        },
        Step {
            token: Some(TOKEN),
            ..step("acme/device/quick/t17", right(), "RATE_LIMITED", "RATE_LIMIT_RPS")
        },
        Step {
            token: Some(TOKEN),
            ..step("acme/device/odd/t18", right(), "STORE_REJECTED", "\\u0000")
        },
    ]
}

#[test]
fn the_first_failed_check_is_the_reason_and_quarantine_explains_it() {
    let mut pipeline = Pipeline::new(&SETTINGS, &registry());
    let good = format!(r#"{{"provision_token":"{TOKEN}"}}"#);
    // It uses up the burst of `quick`; the false one before it must not.
    pipeline.publish("acme/device/quick/t16a", format!(r#"{{"provision_token":"{WRONG}"}}"#));
    pipeline.publish("acme/device/quick/telemetry", &good);
    let steps = [steps_of_the_payload(), steps_of_the_timestamp(), steps_of_the_registry()];
    let steps = steps.into_iter().flatten().collect::<Vec<Step>>();
    for step in &steps {
        pipeline.publish(step.path, &step.payload);
    }
    pipeline.settle();

    assert_eq!(pipeline.value("SELECT string_agg(device_id, ',') FROM telemetry"), "quick");
    for step in &steps {
        assert_kept(&pipeline, step);
    }
    let mut expected: BTreeMap<String, i64> =
        BTreeMap::from([("acme TOKEN_INVALID".to_owned(), 1)]);
    for step in &steps {
        let tenant = if step.reason == "BAD_TOPIC_FORMAT" {
            ""
        } else {
            step.path.split('/').next().unwrap()
        };
        *expected.entry(format!("{tenant} {}", step.reason)).or_default() += 1;
    }
    let expected: Vec<(String, String)> =
        expected.into_iter().map(|(name, count)| (name, count.to_string())).collect();
    let sums = "SELECT tenant_id || ' ' || reason, sum(cnt)::text FROM quarantine_counters_minute GROUP BY 1";
    assert_same(&pipeline.pairs(sums), &expected);
    let events = "SELECT coalesce(tenant_id, '') || ' ' || reason, count(*)::text FROM quarantine_events GROUP BY 1";
    assert_same(&pipeline.pairs(events), &expected);
    let minutes = "SELECT count(*) FROM quarantine_counters_minute WHERE bucket_minute <> date_trunc('minute', bucket_minute)";
    assert_eq!(pipeline.value(minutes), "0");
    for reason in steps.iter().map(|step| step.reason) {
        let shown =
            pipeline.daemon.metric(&format!("sluice_quarantined_total{{reason=\"{reason}\"}}"));
        let rows = pipeline
            .value(&format!("SELECT count(*) FROM quarantine_events WHERE reason = '{reason}'"));
        assert_eq!(format!("{shown}"), rows, "{reason}");
    }
    pipeline.assert_unharmed();
}

/// The row of one step, column by column.
fn assert_kept(pipeline: &Pipeline, step: &Step) {
    let Step { path, payload, reason, words, told, token } = step;
    let row = pipeline.refused(&format!("topic = 'tenant/{path}'"));
    assert_eq!(row["reason"], *reason, "{row:#}");
    assert!(row["detail"].as_str().unwrap().contains(words), "{row:#}");
    let parts: Vec<&str> = path.split('/').collect();
    let named = *reason != "BAD_TOPIC_FORMAT";
    for (column, part) in [("tenant_id", parts[0]), ("device_id", parts[2]), ("msg_type", parts[3])]
    {
        assert_eq!(
            row[column],
            if named { Value::from(part) } else { Value::Null },
            "{column}: {row:#}"
        );
    }
    let id = row["id"].as_str().unwrap();
    let moments = "coalesce((event_ts AT TIME ZONE 'UTC')::text, 'NULL')";
    let sql = format!(
        "SELECT {moments}, coalesce(site_id, 'NULL') FROM quarantine_events WHERE id = '{id}'"
    );
    assert_eq!(pipeline.pairs(&sql), sorted([(told[0], told[1])]), "{row:#}");
    let kept = [TOKEN, WRONG]
        .iter()
        .fold(payload.clone(), |text, token| text.replace(token, "[redacted]"));
    assert_eq!(row["payload"], kept.replace('\\', r"\\"));
    assert_eq!(row["token_sha256"], token.map(sha256).map_or(Value::Null, Value::from), "{row:#}");
    assert!(row["replayed_at"].is_null() && row["message_id"].is_string());
    let order = format!(
        "SELECT (received_at <= quarantined_at AND received_at > now() - interval '1 minute')::text \
         FROM quarantine_events WHERE id = '{id}'"
    );
    assert_eq!(pipeline.value(&order), "true", "{row:#}");
}
