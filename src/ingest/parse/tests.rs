//! Tests of the parser: each field's rule, the order of the checks, and that no bytes make it
//! panic.

use bytes::Bytes;
use proptest::prelude::*;

use super::ParseLimits;
use super::parsed::{ParseOutcome, Parsed, ParsedBody, TokenField};
use crate::config::{Config, Sources};
use crate::domain::link::LinkArrival;
use crate::domain::message::{CommandVerdict, Delivery, ReplayOrigin};
use crate::domain::publisher::Publisher;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_micros(1_770_120_000_000_000);

fn limits(settings: &[(&str, &str)]) -> ParseLimits {
    let environment =
        settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let loaded = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
    ParseLimits::from(&loaded.config.ingest)
}

fn delivery(topic: &str, payload: &[u8]) -> Delivery {
    Delivery {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::copy_from_slice(payload),
        cut_from: None,
        held_since: NOW,
        received_at: NOW,
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        correlation: None,
        publisher: Publisher::default(),
        replay: None,
        arrival: None,
    }
}

fn parse(kind: &str, payload: &str) -> ParseOutcome {
    limits(&[]).parse(&delivery(&format!("tenant/t/device/d/{kind}"), payload.as_bytes()))
}

fn parsed(kind: &str, payload: &str) -> Parsed {
    match parse(kind, payload) {
        ParseOutcome::Parsed(parsed) => parsed,
        other => panic!("{payload}: {other:?}"),
    }
}

fn reason(kind: &str, payload: &str) -> Reason {
    match parse(kind, payload) {
        ParseOutcome::Refused(refusal, _) => refusal.reason,
        other => panic!("{payload}: {other:?}"),
    }
}

#[test]
fn a_full_message_is_parsed_without_losing_a_digit() {
    let message = parsed(
        "telemetry/engine",
        r#"{"ts":1770119999.5,"site_id":"north","tenant_id":"t","device_id":"d","seq":9223372036854775807,
            "metrics":{"t":21.500,"n":1e2},"provision_token":"s\u0033cret","version":"1","other":1}"#,
    );
    assert_eq!(message.identity(), "t/device/d");
    assert_eq!(message.msg_type, "telemetry/engine");
    assert_eq!(message.time, Some(Timestamp::from_micros(1_770_119_999_500_000)));
    assert_eq!(message.site.as_deref(), Some(b"north".as_slice()));
    assert_eq!(message.token, TokenField::Given(Bytes::from_static(b"s3cret")));
    let ParsedBody::Telemetry { seq, metrics, extra } = message.body else { panic!("telemetry") };
    assert_eq!(
        (seq, metrics.as_ref(), extra),
        (Some(i64::MAX), br#"{"t":21.500,"n":1e2}"#.as_slice(), None)
    );
}

/// A message of a link, parsed.
fn from_link(topic: &str, payload: &str, change: impl FnOnce(&mut LinkArrival)) -> ParseOutcome {
    let mut arrival = LinkArrival {
        link: "cloud".parse().unwrap(),
        event_time: Some(NOW.plus_seconds(-5)),
        message_id: None,
        via: Vec::new(),
        is_ignored: false,
        refusal: None,
    };
    change(&mut arrival);
    let message = delivery(topic, payload.as_bytes());
    limits(&[]).parse(&Delivery { arrival: Some(Box::new(arrival)), ..message })
}

#[test]
fn the_time_of_an_event_stands_in_for_a_missing_ts_and_its_range_is_checked() {
    const TOPIC: &str = "tenant/t/device/d/telemetry";
    let time = |payload: &str| match from_link(TOPIC, payload, |_| {}) {
        ParseOutcome::Parsed(parsed) => {
            assert!(parsed.is_from_link);
            parsed.time.unwrap()
        }
        other => panic!("{payload}: {other:?}"),
    };
    assert_eq!(time("{}"), NOW.plus_seconds(-5));
    assert_eq!(time(r#"{"ts":1770119999}"#), NOW.plus_seconds(-1));
    let late = |arrival: &mut LinkArrival| arrival.event_time = Some(NOW.plus_seconds(86_400));
    match from_link(TOPIC, "{}", late) {
        ParseOutcome::Refused(refusal, fields) => {
            assert_eq!(refusal.reason, Reason::TimestampOutOfRange);
            assert_eq!(fields.event_time, Some(NOW.plus_seconds(86_400)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_link_has_decided_comes_before_every_check() {
    let refusal = Refusal::new(Reason::BadPayload, "link cloud: x");
    let given = refusal.clone();
    match from_link("nonsense", "no json", |arrival| arrival.refusal = Some(given)) {
        ParseOutcome::Refused(found, fields) => {
            assert_eq!((found, fields.event_time), (refusal, Some(NOW.plus_seconds(-5))));
        }
        other => panic!("{other:?}"),
    }
    let own = from_link("nonsense", "no json", |arrival| arrival.is_ignored = true);
    assert!(matches!(own, ParseOutcome::Ignored), "{own:?}");
}

#[test]
fn an_absent_or_null_field_has_its_default() {
    let nothing = r#"{"ts":null,"site_id":null,"seq":null,"metrics":null,"provision_token":null,"version":null}"#;
    for payload in ["{}", nothing] {
        let message = parsed("heartbeat", payload);
        assert_eq!((message.time, message.site, message.token), (None, None, TokenField::Absent));
        let ParsedBody::Telemetry { seq, metrics, .. } = message.body else { panic!("telemetry") };
        assert_eq!((seq, metrics.as_ref()), (None, b"{}".as_slice()));
    }
}

#[test]
fn fields_of_a_wrong_type_are_bad_payload() {
    for payload in [
        "",
        "1",
        "null",
        "[]",
        "\"x\"",
        "NaN",
        "{",
        "{}x",
        r#"{"site_id":1}"#,
        r#"{"tenant_id":["t"]}"#,
        r#"{"device_id":{}}"#,
        r#"{"provision_token":1}"#,
        r#"{"seq":-1}"#,
        r#"{"seq":-0}"#,
        r#"{"seq":1.0}"#,
        r#"{"seq":"1"}"#,
        r#"{"seq":9223372036854775808}"#,
        r#"{"metrics":[]}"#,
        r#"{"metrics":1}"#,
        r#"{"ts":1,"ts":2}"#,
        r#"{"metrics":{"a":NaN}}"#,
    ] {
        assert_eq!(reason("telemetry", payload), Reason::BadPayload, "{payload}");
    }
    let deep = format!("{{\"metrics\":{{\"a\":{}1{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    let many = format!(
        "{{\"metrics\":{{{}\"z\":1}}}}",
        (0..256).fold(String::new(), |keys, n| keys + &format!("\"k{n}\":1,"))
    );
    let roomy = limits(&[("MAX_PAYLOAD_BYTES", "1000000")]);
    for payload in [deep, many] {
        let outcome = roomy.parse(&delivery("tenant/t/device/d/telemetry", payload.as_bytes()));
        assert!(
            matches!(outcome, ParseOutcome::Refused(refusal, _) if refusal.reason == Reason::BadPayload)
        );
    }
}

#[test]
fn of_many_faults_the_first_in_the_table_names_the_reason() {
    let all = r#"{"seq":"x","version":"2","tenant_id":"u","device_id":"e","ts":"never"}"#;
    assert_eq!(reason("heartbeat/x", all), Reason::BadTopicFormat);
    assert_eq!(reason("telemetry", all), Reason::BadPayload);
    assert_eq!(reason("telemetry", &all.replace("\"seq\":\"x\",", "")), Reason::UnsupportedVersion);
    let further = r#"{"tenant_id":"u","device_id":"e","ts":"never"}"#;
    assert_eq!(reason("telemetry", further), Reason::TenantMismatch);
    assert_eq!(reason("telemetry", r#"{"device_id":"e","ts":"never"}"#), Reason::DeviceMismatch);
    assert_eq!(reason("telemetry", r#"{"ts":"never"}"#), Reason::BadTimestamp);
    assert_eq!(
        reason("telemetry", r#"{"ts":"0001-01-01T00:00:00Z"}"#),
        Reason::TimestampOutOfRange
    );
}

#[test]
fn an_unstorable_payload_is_refused_only_after_its_sender_is_accepted() {
    assert!(parsed("telemetry", r#"{"metrics":{"a":"\u0000"}}"#).unstorable.is_some());
    assert!(parsed("telemetry", r#"{"metrics":{"a":1e400000}}"#).unstorable.is_some());
    assert!(parsed("telemetry", r#"{"dropped":"\u0000","metrics":{}}"#).unstorable.is_none());
}

#[test]
fn shadows_and_acknowledgements_have_their_own_fields() {
    let ParsedBody::Shadow { reported, version } =
        parsed("shadow/reported", r#"{"reported":{"on":true},"version":7}"#).body
    else {
        panic!("a shadow")
    };
    assert_eq!((reported.as_ref(), version), (br#"{"on":true}"#.as_slice(), Some(7)));
    let ack = r#"{"command_id":"0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11","status":"done","details":{"took":3}}"#;
    let ParsedBody::CommandAck { details, verdict, .. } = parsed("commands/ack", ack).body else {
        panic!("an acknowledgement")
    };
    assert_eq!(details.as_ref(), br#"{"status":"done","details":{"took":3}}"#);
    assert_eq!(verdict, CommandVerdict::Done, "a word of the device's own");
    for (status, expected) in [
        ("ok", CommandVerdict::Done),
        ("rejected", CommandVerdict::Rejected),
        ("failed", CommandVerdict::Failed),
        ("in_progress", CommandVerdict::InProgress),
    ] {
        let ack = ack.replace("done", status);
        let ParsedBody::CommandAck { verdict, .. } = parsed("commands/ack", &ack).body else {
            panic!("an acknowledgement")
        };
        assert_eq!(verdict, expected);
    }
    for payload in [
        "{}",
        r#"{"reported":1}"#,
        r#"{"reported":{},"version":-1}"#,
        r#"{"reported":{},"version":"2"}"#,
    ] {
        assert_eq!(reason("shadow/reported", payload), Reason::BadPayload, "{payload}");
    }
    for payload in ["{}", r#"{"command_id":"x"}"#, r#"{"command_id":7}"#] {
        assert_eq!(reason("commands/ack", payload), Reason::BadPayload, "{payload}");
    }
    assert!(matches!(parse("commands/reboot", "anything"), ParseOutcome::Ignored));
}

#[test]
fn unknown_fields_are_kept_as_one_object_if_configured() {
    let keeping = limits(&[("KEEP_EXTRA_FIELDS", "1")]);
    let payload = br#"{"a":1.50,"metrics":{},"\u0062\"":[2],"provision_token":"x"}"#;
    let ParseOutcome::Parsed(message) =
        keeping.parse(&delivery("tenant/t/device/d/telemetry", payload))
    else {
        panic!("accepted")
    };
    let ParsedBody::Telemetry { extra, .. } = message.body else { panic!("telemetry") };
    assert_eq!(
        extra.as_deref(),
        Some(br#"{"a":1.50,"b\"":[2]}"#.as_slice()),
        "the token is no extra"
    );
}

#[test]
fn a_token_in_a_stored_part_is_removed() {
    let strayed =
        r#"{"metrics":{"a":1,"provision_token":"s3cret"},"auth":{"provision_token":"s3cret"}}"#;
    let keeping = limits(&[("KEEP_EXTRA_FIELDS", "1")]);
    let ParseOutcome::Parsed(message) =
        keeping.parse(&delivery("tenant/t/device/d/telemetry", strayed.as_bytes()))
    else {
        panic!("accepted")
    };
    let ParsedBody::Telemetry { metrics, extra, .. } = message.body else { panic!("telemetry") };
    assert_eq!(metrics, r#"{"a":1,"provision_token":"[redacted]"}"#);
    assert_eq!(extra.as_deref(), Some(br#"{"auth":{"provision_token":"[redacted]"}}"#.as_slice()));
}

#[test]
fn a_replay_uses_the_stored_hash_of_its_token() {
    let original = parsed("telemetry", r#"{"provision_token":"s3cret"}"#).token.hash();
    let mut again = delivery("tenant/t/device/d/telemetry", br#"{"provision_token":"[redacted]"}"#);
    again.replay = Some(Box::new(ReplayOrigin { token: original, message_id: uuid::Uuid::nil() }));
    let ParseOutcome::Parsed(message) = limits(&[]).parse(&again) else { panic!("accepted") };
    assert_eq!(message.token.hash(), original);
}

proptest! {
    #[test]
    fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..400), kind in 0..4_usize) {
        let topic = format!("tenant/t/device/d/{}", ["telemetry", "shadow/reported", "commands/ack", "x"][kind]);
        let _ = limits(&[]).parse(&delivery(&topic, &payload));
    }

    #[test]
    fn no_near_miss_makes_it_panic(
        payload in r#"\{("(ts|seq|metrics|version|site_id|provision_token|reported|command_id)":[0-9eE."{}\[\]truenl\\d-]{0,12},?){0,4}\}?"#,
        kind in 0..3_usize,
    ) {
        let topic = format!("tenant/t/device/d/{}", ["telemetry", "shadow/reported", "commands/ack"][kind]);
        let keeping = limits(&[("KEEP_EXTRA_FIELDS", "1")]);
        let _ = keeping.parse(&delivery(&topic, payload.as_bytes()));
    }
}
