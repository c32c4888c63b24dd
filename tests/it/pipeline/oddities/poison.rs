//! Payloads that break parsers and databases, each in the midst of good messages.

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};
use crate::support::device::Message;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) \
    SELECT 'acme', 'p' || number FROM generate_series(0, 9) AS number; \
    INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, status) \
    VALUES ('0191d5a0-0000-7000-8000-000000000001', 'acme', 'p0', 'reboot', 'PUBLISHED')";

/// Large enough for what only the database can refuse.
const SETTINGS: [(&str, &str); 2] = [TRUSTING[0], ("MAX_PAYLOAD_BYTES", "300000")];

/// Good messages between two bad ones.
const AROUND: usize = 20;

/// More memory than this a few bad messages must not take.
const RSS_MAX_KIB: u64 = 200 * 1024;

/// Name, payload, and what becomes of it.
type Poison = (&'static str, Vec<u8>, &'static str);

fn of_shape() -> Vec<Poison> {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let texts = [
        ("one", "1".into(), "BAD_PAYLOAD"),
        ("null", "null".into(), "BAD_PAYLOAD"),
        ("array", "[]".into(), "BAD_PAYLOAD"),
        ("empty", String::new(), "BAD_PAYLOAD"),
        ("blank", " \r\n\t".into(), "BAD_PAYLOAD"),
        ("nul-bytes", "\0\0\0".into(), "BAD_PAYLOAD"),
        ("brackets", open.clone(), "BAD_PAYLOAD"),
        ("closing-brackets", close.clone(), "BAD_PAYLOAD"),
        ("deep-metrics", format!(r#"{{"metrics":{{"a":{open}{close}}}}}"#), "BAD_PAYLOAD"),
        ("deep-unknown", format!(r#"{{"x":{open}{close}}}"#), "BAD_PAYLOAD"),
        ("deep-objects", r#"{"a":"#.repeat(50_000), "BAD_PAYLOAD"),
        ("deep-site", format!(r#"{{"site_id":{open}{close}}}"#), "BAD_PAYLOAD"),
        ("brackets-in-text", format!(r#"{{"metrics":{{"a":"{open}"}}}}"#), "stored"),
        ("field-twice", r#"{"ts":1,"ts":2}"#.into(), "BAD_PAYLOAD"),
        ("metric-twice", r#"{"metrics":{"a":1,"a":2}}"#.into(), "stored"),
        ("nan", r#"{"metrics":{"a":NaN}}"#.into(), "BAD_PAYLOAD"),
        ("huge", "x".repeat(10_000_000), "PAYLOAD_TOO_LARGE"),
    ];
    texts.map(|(name, text, end): (_, String, _)| (name, text.into_bytes(), end)).into()
}

fn of_characters() -> Vec<Poison> {
    let in_metrics = |text: &str| format!(r#"{{"metrics":{{"a":"{text}"}}}}"#).into_bytes();
    vec![
        ("nul", in_metrics(r"\u0000"), "STORE_REJECTED"),
        ("nul-in-name", br#"{"metrics":{"\u0000":1}}"#.into(), "STORE_REJECTED"),
        ("escaped-backslash", in_metrics(r"\\u0000"), "stored"),
        ("high-surrogate", in_metrics(r"\ud800"), "STORE_REJECTED"),
        ("low-surrogate", in_metrics(r"\udc00"), "STORE_REJECTED"),
        ("surrogates-reversed", in_metrics(r"\udc00\ud800"), "STORE_REJECTED"),
        ("surrogate-and-text", in_metrics(r"\ud800x\udc00"), "STORE_REJECTED"),
        ("surrogate-pair", in_metrics(r"\ud83d\ude00"), "stored"),
        ("surrogate-bytes", b"{\"metrics\":{\"a\":\"\xed\xa0\x80\"}}".into(), "BAD_PAYLOAD"),
        ("no-utf-8", b"\xff\xfe\x00{\x00}".into(), "BAD_PAYLOAD"),
        ("overlong", b"{\"metrics\":{\"a\":\"\xc0\x80\"}}".into(), "BAD_PAYLOAD"),
        ("raw-nul", b"{\"metrics\":{\"a\":\"\0\"}}".into(), "BAD_PAYLOAD"),
        ("site-surrogate", br#"{"site_id":"\udfff"}"#.into(), "BAD_PAYLOAD"),
    ]
}

fn of_numbers() -> Vec<Poison> {
    let digits = "9".repeat(140_000);
    let metric = |number: &str| format!(r#"{{"metrics":{{"a":{number}}}}}"#);
    let time = |time: &str| format!(r#"{{"ts":{time}}}"#);
    let seq = |number: &str| format!(r#"{{"seq":{number}}}"#);
    let texts = [
        ("metric-1e400000", metric("1e400000"), "STORE_REJECTED"),
        ("metric-minus", metric("-1E+400000"), "STORE_REJECTED"),
        ("metric-tiny", metric("1e-400000"), "STORE_REJECTED"),
        ("metric-endless-exponent", metric(&format!("1e{}", "9".repeat(1_000))), "STORE_REJECTED"),
        // Only Postgres itself sees what is wrong here.
        ("metric-long", metric(&digits), "STORE_REJECTED"),
        ("metric-minus-0", metric("-0"), "stored"),
        ("metric-2-63", metric("9223372036854775808"), "stored"),
        ("metric-1e131071", metric("1e131071"), "STORE_REJECTED"),
        ("metric-1e400", metric("1e400"), "stored"),
        ("seq-1e400000", seq("1e400000"), "BAD_PAYLOAD"),
        ("seq-minus-0", seq("-0"), "BAD_PAYLOAD"),
        ("seq-2-63", seq("9223372036854775808"), "BAD_PAYLOAD"),
        ("seq-long", seq(&digits), "BAD_PAYLOAD"),
        ("ts-1e400000", time("1e400000"), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-minus-1e400000", time("-1e400000"), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-minus-0", time("-0"), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-2-63", time("9223372036854775808"), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-long", time(&digits), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-year-0", time(r#""0000-01-01T00:00:00Z""#), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-year-1", time(r#""0001-01-01T00:00:00Z""#), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-year-9999", time(r#""9999-12-31T23:59:59.999999Z""#), "TIMESTAMP_OUT_OF_RANGE"),
        ("ts-year-10000", time(r#""10000-01-01T00:00:00Z""#), "BAD_TIMESTAMP"),
        ("ts-february-30", time(r#""2026-02-30T00:00:00Z""#), "BAD_TIMESTAMP"),
        ("ts-object", time("{}"), "BAD_TIMESTAMP"),
        ("ts-nul", time(r#""\u0000""#), "BAD_TIMESTAMP"),
    ];
    texts.map(|(name, text, end)| (name, text.into_bytes(), end)).into()
}

/// The next few valid messages; `seq` identifies each.
fn good(next: &mut usize) -> Vec<Message> {
    let numbers = *next..*next + AROUND;
    *next = numbers.end;
    let payload = |number| format!(r#"{{"seq":{number},"metrics":{{"t":{number}.5}}}}"#);
    numbers
        .map(|number| to(&format!("acme/device/p{}/telemetry", number % 10), payload(number)))
        .collect()
}

#[test]
fn each_poison_in_the_midst_of_good_messages_harms_only_itself() {
    let mut pipeline = Pipeline::new(&SETTINGS, REGISTRY);
    let poisons = [of_shape(), of_characters(), of_numbers()].concat();
    let mut sent = 0;
    let mut messages = good(&mut sent);
    for (name, payload, _) in &poisons {
        messages.push(to(&format!("acme/device/p0/telemetry/{name}"), payload));
        messages.extend(good(&mut sent));
    }
    pipeline.send(&messages);
    pipeline.settle();

    let ends = "SELECT substr(msg_type, 11), 'stored' FROM telemetry WHERE msg_type <> 'telemetry' \
        UNION ALL SELECT substr(msg_type, 11), reason FROM quarantine_events";
    assert_same(&pipeline.pairs(ends), &sorted(poisons.iter().map(|(name, _, end)| (*name, *end))));
    let good = "SELECT count(*) || ' ' || count(DISTINCT seq) || ' ' || max(seq) FROM telemetry \
        WHERE msg_type = 'telemetry'";
    assert_eq!(pipeline.value(good), format!("{sent} {sent} {}", sent - 1));
    assert_eq!(
        pipeline.value("SELECT metrics FROM telemetry WHERE msg_type LIKE '%metric-twice'"),
        r#"{"a": 2}"#
    );
    assert_eq!(
        pipeline.value("SELECT metrics FROM telemetry WHERE msg_type LIKE '%minus-0'"),
        r#"{"a": 0}"#
    );
    assert_eq!(
        pipeline
            .value("SELECT length(payload) FROM quarantine_events WHERE msg_type LIKE '%/huge'"),
        "262144"
    );
    let long = pipeline.refused("msg_type LIKE '%metric-long'");
    assert!(
        long["detail"].as_str().unwrap().starts_with("Postgres refused the row: "),
        "{}",
        long["detail"]
    );
    assert!(long["event_ts"].is_null(), "it named no time");
    assert!(pipeline.daemon.rss_kib() < RSS_MAX_KIB, "{} KiB", pipeline.daemon.rss_kib());
    pipeline.assert_unharmed();
}

#[test]
fn what_only_the_database_refuses_is_singled_out_wherever_it_stands() {
    let mut pipeline = Pipeline::new(&SETTINGS, REGISTRY);
    let endless = format!(r#"{{"a":{}}}"#, "9".repeat(140_000));
    let mut messages =
        vec![to("acme/device/p0/shadow/reported", r#"{"reported":{"a":1},"version":1}"#)];
    let mut sent = 0;
    for _ in 0..3 {
        messages.extend(good(&mut sent));
        messages.push(to("acme/device/p1/bad", format!(r#"{{"metrics":{endless}}}"#)));
        messages.push(to(
            "acme/device/p0/shadow/reported",
            format!(r#"{{"reported":{endless},"version":2}}"#),
        ));
        let command = r#""command_id":"0191d5a0-0000-7000-8000-000000000001""#;
        messages.push(to(
            "acme/device/p0/commands/ack",
            format!(r#"{{{command},"details":{endless}}}"#),
        ));
    }
    pipeline.send(&messages);
    pipeline.settle();
    assert_eq!(pipeline.value("SELECT count(DISTINCT seq) FROM telemetry"), sent.to_string());
    let refused =
        "SELECT msg_type || ' ' || reason, count(*)::text FROM quarantine_events GROUP BY 1";
    let expected =
        ["bad", "shadow/reported", "commands/ack"].map(|path| format!("{path} STORE_REJECTED"));
    assert_same(
        &pipeline.pairs(refused),
        &sorted(expected.iter().map(|name| (name.as_str(), "3"))),
    );
    let counted = "SELECT tenant_id || ' ' || reason, sum(cnt)::text FROM quarantine_counters_minute GROUP BY 1";
    assert_same(&pipeline.pairs(counted), &sorted([("acme STORE_REJECTED", "9")]));
    assert_eq!(
        pipeline.value("SELECT reported FROM device_state WHERE device_id = 'p0'"),
        r#"{"a": 1}"#
    );
    assert_eq!(pipeline.value("SELECT status FROM device_commands"), "PUBLISHED");
    pipeline.assert_unharmed();
}
