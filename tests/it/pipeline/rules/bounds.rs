//! Every bound that is a setting: the last message within it passes, the first beyond it does not.

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'), ('loud', 'Loud'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1'), ('acme', 'p2'), ('loud', 'p1')";

/// A message within a bound and one beyond it, and the reason of the latter.
struct Border {
    name: &'static str,
    within: String,
    beyond: String,
    reason: &'static str,
}

/// Metrics that nest this deep; the payload itself is the first level, `metrics` the second.
fn nested(levels: usize) -> String {
    format!(r#"{{"metrics":{{"a":{}1{}}}}}"#, "[".repeat(levels - 2), "]".repeat(levels - 2))
}

fn with_metrics(count: usize) -> String {
    let metrics: Vec<String> =
        (0..count).map(|number| format!(r#""m{number}":{{"x":1,"y":2}}"#)).collect();
    format!(r#"{{"metrics":{{{}}}}}"#, metrics.join(","))
}

fn of_size(bytes: usize) -> String {
    let rest = bytes - r#"{"x":""}"#.len();
    format!(r#"{{"x":"{}"}}"#, "ü".repeat(rest / 2) + &"u".repeat(rest % 2))
}

/// A time this many seconds from now.
fn in_seconds(seconds: i64) -> String {
    let time = sluice::clock::now().to_utc() + chrono::TimeDelta::seconds(seconds);
    format!(r#"{{"ts":"{}"}}"#, time.to_rfc3339())
}

fn borders(bytes: usize, depth: usize, metrics: usize, ahead: i64, days: i64) -> [Border; 5] {
    let border = |name, within, beyond, reason| Border { name, within, beyond, reason };
    let (out_of_range, day) = ("TIMESTAMP_OUT_OF_RANGE", 86_400);
    [
        border("size", of_size(bytes), of_size(bytes + 1), "PAYLOAD_TOO_LARGE"),
        border("depth", nested(depth), nested(depth + 1), "BAD_PAYLOAD"),
        border("metrics", with_metrics(metrics), with_metrics(metrics + 1), "BAD_PAYLOAD"),
        // A minute of grace on the near side: the machine may be slow between here and there.
        border("ahead", in_seconds(ahead), in_seconds(ahead + 60), out_of_range),
        border("age", in_seconds(60 - days * day), in_seconds(-days * day - 1), out_of_range),
    ]
}

fn assert_borders(pipeline: &mut Pipeline, borders: &[Border]) {
    for Border { name, within, beyond, .. } in borders {
        pipeline.publish(&format!("acme/device/p1/telemetry/{name}"), within);
        pipeline.publish(&format!("acme/device/p1/telemetry/{name}"), beyond);
    }
    pipeline.settle();
    let stored = pipeline.pairs("SELECT substr(msg_type, 11), 'stored' FROM telemetry");
    assert_same(&stored, &sorted(borders.iter().map(|border| (border.name, "stored"))));
    let refused = pipeline.pairs("SELECT substr(msg_type, 11), reason FROM quarantine_events");
    assert_same(&refused, &sorted(borders.iter().map(|border| (border.name, border.reason))));
}

#[test]
fn the_default_bounds_apply() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    assert_borders(&mut pipeline, &borders(16_384, 16, 256, 300, 30));
}

#[test]
fn the_bounds_hold_where_somebody_set_them() {
    let settings = [
        TRUSTING[0],
        ("MAX_PAYLOAD_BYTES", "500"),
        ("MAX_JSON_DEPTH", "3"),
        ("MAX_METRICS", "2"),
        ("MAX_CLOCK_SKEW_SECONDS", "7200"),
        ("MAX_AGE_DAYS", "2"),
    ];
    let mut pipeline = Pipeline::new(&settings, REGISTRY);
    assert_borders(&mut pipeline, &borders(500, 3, 2, 7200, 2));
}

#[test]
fn unknown_fields_are_kept_when_the_setting_is_on() {
    let mut pipeline = Pipeline::new(&[TRUSTING[0], ("KEEP_EXTRA_FIELDS", "1")], REGISTRY);
    let cases = [
        ("none", r#"{"seq":1,"provision_token":"x","version":"1"}"#, "NULL"),
        (
            "some",
            r#"{"fw":"1.2","a":{"b":[1.10]},"seq":1}"#,
            r#"{"a": {"b": [1.10]}, "fw": "1.2"}"#,
        ),
        ("platform", r#"{"reported":1,"status":null}"#, r#"{"status": null, "reported": 1}"#),
        ("names", r#"{"\"q\"":1,"\u00e4":2,"":3}"#, r#"{"": 3, "ä": 2, "\"q\"": 1}"#),
        ("twice", r#"{"x":1,"x":2}"#, r#"{"x": 2}"#),
    ];
    pipeline.send(&cases.map(|(name, payload, _)| to(&format!("acme/device/p1/{name}"), payload)));
    pipeline.publish("acme/device/p1/poisoned", r#"{"x":"\u0000"}"#);
    pipeline.publish("acme/device/p1/poisoned-name", r#"{"\u0000":1}"#);
    pipeline.settle();
    let kept = pipeline.pairs("SELECT msg_type, extra::text FROM telemetry");
    assert_same(&kept, &sorted(cases.map(|(name, _, extra)| (name, extra))));
    let refused = pipeline.pairs("SELECT msg_type, reason FROM quarantine_events");
    assert_same(
        &refused,
        &sorted(["poisoned", "poisoned-name"].map(|name| (name, "STORE_REJECTED"))),
    );
}

#[test]
fn a_device_that_sends_too_much_is_held_back_and_no_other_pays_for_it() {
    let settings = [TRUSTING[0], ("RATE_LIMIT_RPS", "0.0001"), ("RATE_LIMIT_BURST", "5")];
    let mut pipeline = Pipeline::new(&settings, REGISTRY);
    pipeline.send(&vec![to("acme/device/p1/telemetry", "{}"); 20]);
    pipeline.send(&vec![to("acme/device/p2/telemetry", "{}"); 5]);
    pipeline.settle();
    let stored = pipeline.pairs("SELECT device_id, count(*)::text FROM telemetry GROUP BY 1");
    assert_same(&stored, &sorted([("p1", "5"), ("p2", "5")]));
    let refused = pipeline.pairs(
        "SELECT device_id || ' ' || reason, count(*)::text FROM quarantine_events GROUP BY 1",
    );
    assert_same(&refused, &sorted([("p1 RATE_LIMITED", "15")]));
}

#[test]
fn a_flood_of_refused_messages_is_sampled_and_counted_exactly() {
    let settings = [TRUSTING[0], ("QUARANTINE_MAX_PER_MINUTE", "10")];
    let mut pipeline = Pipeline::new(&settings, REGISTRY);
    pipeline.send(&vec![to("loud/device/unknown/telemetry", "{}"); 3_000]);
    pipeline.publish("loud/device/p1/telemetry", "not JSON");
    pipeline.publish("acme/device/unknown/telemetry", "{}");
    pipeline.settle();
    let counted =
        pipeline.pairs("SELECT tenant_id || ' ' || reason, sum(cnt)::text FROM quarantine_counters_minute GROUP BY 1");
    let expected = [
        ("loud UNREGISTERED_DEVICE", "3000"),
        ("loud BAD_PAYLOAD", "1"),
        ("acme UNREGISTERED_DEVICE", "1"),
    ];
    assert_same(&counted, &sorted(expected));
    let kept: f64 = pipeline.value("SELECT count(*) FROM quarantine_events").parse().unwrap();
    // Ten and the powers of two; twice that when a minute ended meanwhile.
    assert!((22.0..=46.0).contains(&kept), "{kept}");
    let sampled_out = pipeline.daemon.metric("sluice_quarantine_sampled_out_total");
    assert!((kept + sampled_out - 3_002.0).abs() < 0.5, "{kept} + {sampled_out}");
    assert_eq!(pipeline.ended("quarantined"), 3_002);
}
