//! Every field of a payload: what is stored of it, and what makes it bad.

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};

/// `sited` stands at a place, `bare` at none. Old moments are plausible here, and kept.
const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id, site_id) VALUES ('acme', 'sited', 'north'), ('acme', 'bare', NULL)";
const SETTINGS: [(&str, &str); 3] =
    [TRUSTING[0], ("MAX_AGE_DAYS", "36500"), ("TELEMETRY_RETENTION_DAYS", "0")];

/// Name, the payload, and the columns of its row as text.
type Good = (&'static str, &'static str, &'static str);

const TIMES: [Good; 11] = [
    ("rfc3339", r#"{"ts":"2020-02-03T12:00:00Z"}"#, "2020-02-03 12:00:00"),
    ("offset", r#"{"ts":"2020-02-03T13:30:00+01:30"}"#, "2020-02-03 12:00:00"),
    ("fraction", r#"{"ts":"2020-02-03T12:00:00.123456Z"}"#, "2020-02-03 12:00:00.123456"),
    ("lower-case", r#"{"ts":"2020-02-03t12:00:00z"}"#, "2020-02-03 12:00:00"),
    ("leap-day", r#"{"ts":"2020-02-29T23:59:59Z"}"#, "2020-02-29 23:59:59"),
    ("seconds", r#"{"ts":1580731200}"#, "2020-02-03 12:00:00"),
    ("seconds-fraction", r#"{"ts":1580731200.25}"#, "2020-02-03 12:00:00.25"),
    ("exponent", r#"{"ts":1.5807312e9}"#, "2020-02-03 12:00:00"),
    ("milliseconds", r#"{"ts":1580731200250}"#, "2020-02-03 12:00:00.25"),
    ("milliseconds-fraction", r#"{"ts":1580731200250.125}"#, "2020-02-03 12:00:00.250125"),
    ("first-milliseconds", r#"{"ts":100000000000}"#, "1973-03-03 09:46:40"),
];

const COUNTS: [Good; 4] = [
    ("zero", r#"{"seq":0}"#, "0"),
    ("largest", r#"{"seq":9223372036854775807}"#, "9223372036854775807"),
    ("absent", "{}", "NULL"),
    ("null", r#"{"seq":null}"#, "NULL"),
];

const METRICS: [Good; 9] = [
    ("no-metrics", "{}", "{}"),
    ("null-metrics", r#"{"metrics":null}"#, "{}"),
    ("empty-metrics", r#"{"metrics":{}}"#, "{}"),
    (
        "exact",
        r#"{"metrics":{"n":123456789012345678901234567890.123456789}}"#,
        r#"{"n": 123456789012345678901234567890.123456789}"#,
    ),
    ("trailing-zero", r#"{"metrics":{"n":1.10}}"#, r#"{"n": 1.10}"#),
    ("exponents", r#"{"metrics":{"a":1e2,"b":1E-3}}"#, r#"{"a": 100, "b": 0.001}"#),
    (
        "nested",
        r#"{"metrics":{"a":{"b":[1,null,true,"x"]}}}"#,
        r#"{"a": {"b": [1, null, true, "x"]}}"#,
    ),
    ("characters", r#"{"metrics":{"\u00b0":"\ud83d\ude00 ü"}}"#, r#"{"°": "😀 ü"}"#),
    ("blanks", " {\n\t\"metrics\" : { \"a\" : 1 } } \r\n", r#"{"a": 1}"#),
];

const SITES: [Good; 5] = [
    ("sited/equal", r#"{"site_id":"north"}"#, "north"),
    ("sited/absent", "{}", "north"),
    ("sited/escaped", r#"{"site_id":"n\u006frth"}"#, "north"),
    ("bare/given", r#"{"site_id":"south \"1\""}"#, r#"south "1""#),
    ("bare/absent", "{}", "NULL"),
];

/// Fields that are checked and leave no trace, or are not known.
const TRACELESS: [&str; 7] = [
    r#"{"version":"1"}"#,
    r#"{"version":null}"#,
    r#"{"tenant_id":"acme","device_id":"bare"}"#,
    r#"{"tenant_id":"\u0061cme"}"#,
    r#"{"provision_token":"nobody asked"}"#,
    r#"{"unknown":{"a":[1]},"reported":1,"command_id":2}"#,
    r#"{"unknown":1,"unknown":2}"#,
];

const BAD: [(&str, &str, &str); 33] = [
    ("text", "telemetry", "not a JSON object"),
    ("empty", "", "not a JSON object"),
    ("array", "[]", "not a JSON object"),
    ("null", "null", "not a JSON object"),
    ("number", "1", "not a JSON object"),
    ("string", r#""{}""#, "not a JSON object"),
    ("broken-off", r#"{"metrics":{"a":1}"#, "EOF"),
    ("two-documents", "{}{}", "trailing characters"),
    ("trailing-comma", r#"{"seq":1,}"#, "trailing comma"),
    ("single-quotes", "{'seq':1}", "key must be a string"),
    ("comment", "{} // so", "trailing characters"),
    ("byte-order-mark", "\u{feff}{}", "not a JSON object"),
    ("nan", r#"{"metrics":{"a":NaN}}"#, "expected value"),
    ("infinity", r#"{"metrics":{"a":-Infinity}}"#, "invalid number"),
    ("leading-zero", r#"{"seq":01}"#, "invalid number"),
    ("plus", r#"{"seq":+1}"#, "expected value"),
    ("control-character", "{\"site_id\":\"a\u{1}\"}", "control character"),
    ("metrics-array", r#"{"metrics":[]}"#, "metrics must be an object"),
    ("metrics-text", r#"{"metrics":"{}"}"#, "metrics must be an object"),
    ("metrics-twice", r#"{"metrics":{},"metrics":{}}"#, "metrics is given twice"),
    ("ts-twice", r#"{"ts":1,"\u0074s":1}"#, "ts is given twice"),
    ("seq-negative", r#"{"seq":-1}"#, "seq must be an integer from 0"),
    ("seq-minus-zero", r#"{"seq":-0}"#, "seq must be an integer from 0"),
    ("seq-fraction", r#"{"seq":1.5}"#, "seq must be an integer from 0"),
    ("seq-exponent", r#"{"seq":1e3}"#, "seq must be an integer from 0"),
    ("seq-text", r#"{"seq":"1"}"#, "seq must be an integer from 0"),
    ("seq-too-large", r#"{"seq":9223372036854775808}"#, "seq must be an integer from 0"),
    ("site-number", r#"{"site_id":7}"#, "site_id must be a string"),
    ("site-nul", r#"{"site_id":"a\u0000"}"#, "without NUL"),
    ("tenant-number", r#"{"tenant_id":7}"#, "tenant_id must be a string"),
    ("device-object", r#"{"device_id":{}}"#, "device_id must be a string"),
    ("token-number", r#"{"provision_token":7}"#, "provision_token must be a string"),
    ("broken-escape", r#"{"site_id":"\ud800"}"#, "site_id has a broken escape"),
];

#[test]
fn every_field_that_is_right_is_stored_as_it_was_meant() {
    let mut pipeline = Pipeline::new(&SETTINGS, REGISTRY);
    let path = |name: &str| format!("acme/device/bare/telemetry/{name}");
    let plain = TIMES.iter().chain(&COUNTS).chain(&METRICS);
    pipeline.send(&plain.map(|(name, payload, _)| to(&path(name), payload)).collect::<Vec<_>>());
    for (name, payload, _) in SITES {
        let (device, name) = name.split_once('/').unwrap();
        pipeline.publish(&format!("acme/device/{device}/{name}"), payload);
    }
    pipeline.send(&TRACELESS.map(|payload| to("acme/device/bare/traceless", payload)));
    pipeline.settle();

    assert_eq!(pipeline.refusals(), []);
    let of = |cases: &[Good]| {
        let names: Vec<String> =
            cases.iter().map(|(name, ..)| format!("'telemetry/{name}'")).collect();
        format!("FROM telemetry WHERE msg_type IN ({}) ORDER BY 1", names.join(","))
    };
    let expected = |cases: &[Good]| sorted(cases.iter().map(|(name, _, text)| (*name, *text)));
    let name = "substr(msg_type, 11)";
    let times =
        pipeline.pairs(&format!("SELECT {name}, (time AT TIME ZONE 'UTC')::text {}", of(&TIMES)));
    assert_same(&times, &expected(&TIMES));
    assert_same(
        &pipeline.pairs(&format!("SELECT {name}, seq::text {}", of(&COUNTS))),
        &expected(&COUNTS),
    );
    assert_same(
        &pipeline.pairs(&format!("SELECT {name}, metrics::text {}", of(&METRICS))),
        &expected(&METRICS),
    );
    let sites = "SELECT device_id || '/' || msg_type, site_id FROM telemetry WHERE msg_type IN ('equal', 'absent', 'escaped', 'given')";
    assert_same(&pipeline.pairs(sites), &expected(&SITES));
    let traceless = "SELECT count(*) FROM telemetry WHERE msg_type = 'traceless' \
        AND metrics = '{}' AND extra IS NULL AND seq IS NULL AND site_id IS NULL AND time = received_at";
    assert_eq!(pipeline.value(traceless), TRACELESS.len().to_string());
    // Without `ts` the time is that of receipt, and that is now.
    let absent = "SELECT count(*) FROM telemetry WHERE msg_type = 'telemetry/absent' AND time = received_at \
        AND received_at BETWEEN now() - interval '1 minute' AND now()";
    assert_eq!(pipeline.value(absent), "1");
    let all = "SELECT (count(*) = count(DISTINCT message_id))::text FROM telemetry WHERE device_id = 'bare'";
    assert_eq!(pipeline.value(all), "true", "each message has a name of its own");
}

#[test]
fn every_field_that_is_wrong_is_refused_with_a_sentence_about_it() {
    let mut pipeline = Pipeline::new(&SETTINGS, REGISTRY);
    pipeline.send(
        &BAD.map(|(name, payload, _)| to(&format!("acme/device/bare/telemetry/{name}"), payload)),
    );
    let long_site = format!(r#"{{"site_id":"{}"}}"#, "x".repeat(129));
    pipeline.publish("acme/device/bare/telemetry/site-long", &long_site);
    pipeline.publish("acme/device/bare/telemetry/not-utf-8", b"{\"site_id\":\"\xff\xfe\"}");
    pipeline.settle();

    let found = pipeline.refusals();
    assert_eq!(found.len(), BAD.len() + 2);
    let more = [("site-long", "", "at most 128 bytes"), ("not-utf-8", "", "not UTF-8")];
    for (name, _, words) in BAD.iter().chain(&more) {
        let said =
            &found.iter().find(|(msg_type, _)| *msg_type == format!("telemetry/{name}")).unwrap().1;
        assert!(said.starts_with("BAD_PAYLOAD: ") && said.contains(words), "{name}: {said}");
    }
    let row = pipeline.refused("msg_type = 'telemetry/not-utf-8'");
    assert_eq!(row["payload"], r#"{"site_id":"\377\376"}"#, "the bytes as they came");
    assert_eq!(pipeline.value("SELECT count(*) FROM telemetry"), "0");
    pipeline.assert_unharmed();
}
