//! `sluice quarantine` and what it stands on: found by every filter, shown without secrets,
//! discarded only when meant.

use sluice::domain::time::Timestamp;
use sluice::store::quarantine::filter::QuarantineFilter;
use sluice::store::reads::quarantine::{fetch, mark_replayed};
use sluice::store::registry::audit::Actor;
use sqlx::PgPool;

use super::registry::{done, refused, sluice};
use crate::support::database::Database;
use crate::support::postgres::Postgres;

/// Four refusals, an hour apart, the newest an hour old: two of acme, one of a topic that names
/// nobody, one that is no text.
const EVENTS: &str = "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type,
        reason, detail, payload, token_sha256, message_id)
    SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now() - n * interval '1 hour', now() - n * interval '1 hour',
        topic, tenant, device, 'telemetry', reason, 'because', payload, token, ('00000000-0000-0000-0000-0000000000f' || n)::uuid
    FROM (VALUES (1, 'tenant/acme/device/a/telemetry', 'acme', 'a', 'TOKEN_INVALID', '{\"a\":1}'::bytea, repeat('ab', 32)),
        (2, 'tenant/acme/device/b/telemetry', 'acme', 'b', 'BAD_PAYLOAD', 'no json', NULL),
        (3, E'odd\\x1b[2J', NULL, NULL, 'BAD_TOPIC_FORMAT', '{}', NULL),
        (4, 'tenant/zeta/device/z/telemetry', 'zeta', 'z', 'BAD_PAYLOAD', '\\xff00', NULL))
    v (n, topic, tenant, device, reason, payload, token);
    UPDATE quarantine_events SET link = 'azure' WHERE payload = 'no json'";

fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-00000000000{number}")
}

/// The last digits of the listed events' identifiers, in order.
fn listed(database: &Database<'_>, conditions: &[&str]) -> String {
    let events = done(database, &[&["quarantine", "list"], conditions].concat());
    events
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["id"].as_str()?.chars().last())
        .collect()
}

#[test]
fn refusals_are_listed_newest_first_by_every_filter_and_in_pages() {
    let database = Postgres::shared().database();
    database.query(EVENTS);
    for (conditions, expected) in [
        (&[][..], "1234"),
        (&["--tenant", "acme"], "12"),
        (&["--tenant", "acme", "--device", "b"], "2"),
        (&["--device", "acme/b"], "2"),
        (&["--reason", "bad_payload"], "24"),
        (&["--since", "150m"], "12"),
        (&["--since", "210m", "--until", "90m"], "23"),
        (&["--replayed"], ""),
        (&["--link", "azure"], "2"),
        (&["--link", "azure", "--tenant", "zeta"], ""),
        (&["--not-replayed", "--limit", "3"], "123"),
    ] {
        assert_eq!(listed(&database, conditions), expected, "{conditions:?}");
    }
    let output = sluice(&database.url(), &[], "", &["quarantine", "list", "--limit", "2"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let cursor = said.trim().rsplit(' ').next().unwrap();
    assert_eq!(listed(&database, &["--cursor", cursor]), "34");
    let old = sluice(&database.url(), &[], "", &["quarantine", "list", "--before", cursor]);
    let note = String::from_utf8(old.stderr).unwrap();
    assert_eq!(note, "--before is an old spelling: use --cursor\n");
    assert_eq!(listed(&database, &["--before", cursor]), "34");
    let both = ["quarantine", "list", "--cursor", cursor, "--before", cursor];
    let said = refused(&database, &both, 64);
    assert!(said.contains("--cursor") && said.contains("--before"), "{said}");
    assert!(
        refused(&database, &["quarantine", "list", "--reason", "UGLY"], 64)
            .contains("TOKEN_INVALID")
    );
}

#[test]
fn a_refusal_is_shown_without_its_token_and_without_control_characters() {
    let database = Postgres::shared().database();
    database.query(EVENTS);
    let shown = done(&database, &["quarantine", "show", &id(1)]);
    assert_eq!((&shown["payload"], &shown["token_present"]), (&r#"{"a":1}"#.into(), &true.into()));
    let binary = done(&database, &["quarantine", "show", &id(4)]);
    assert_eq!(
        (&binary["payload_hex"], &binary["payload"]),
        (&"ff00".into(), &serde_json::Value::Null)
    );
    for number in 1..=4 {
        let output = sluice(&database.url(), &[], "", &["quarantine", "show", &id(number)]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("abababab") && !text.contains('\u{1b}'), "{text}");
    }
    assert!(!shown.to_string().contains("abababab"), "{shown}");
    assert!(
        refused(&database, &["quarantine", "show", &id(9)], 64).contains("sluice quarantine list")
    );
}

#[test]
fn refusals_are_discarded_only_when_meant_and_the_audit_says_how_many() {
    let database = Postgres::shared().database();
    database.query(EVENTS);
    let by_reason = ["quarantine", "discard", "--reason", "BAD_PAYLOAD"];
    assert_eq!(done(&database, &by_reason)["events"], 2);
    assert_eq!(listed(&database, &[]), "1234", "it only counted");
    assert!(refused(&database, &["quarantine", "discard", "--yes"], 64).contains("--all"));
    assert_eq!(done(&database, &[&by_reason[..], &["--yes"]].concat())["events"], 2);
    assert_eq!(listed(&database, &[]), "13");
    assert_eq!(done(&database, &["quarantine", "discard", &id(3), "--yes"])["events"], 1);
    assert!(
        refused(&database, &["quarantine", "discard", &id(3), "--yes"], 64)
            .contains("none of these")
    );
    assert_eq!(done(&database, &["quarantine", "discard", "--all", "--yes"])["events"], 1);
    let audited =
        "SELECT actor, detail->>'events', detail->'filter'->>'reason' FROM audit_log ORDER BY id";
    let expected =
        [["cli:alice", "2", "BAD_PAYLOAD"], ["cli:alice", "1", "NULL"], ["cli:alice", "1", "NULL"]];
    assert_eq!(database.query(audited), expected);
}

#[tokio::test]
async fn a_refusal_can_be_delivered_again_and_is_marked_once() {
    let database = Postgres::shared().database();
    database.query(EVENTS);
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let filter = QuarantineFilter { tenant: Some("acme".into()), ..QuarantineFilter::default() };
    let oldest = fetch(&pool, &filter, None, 1).await.unwrap();
    let rest = fetch(&pool, &filter, Some(oldest[0].summary.place()), 10).await.unwrap();
    let [record] = &rest[..] else { panic!("one is left: {rest:?}") };
    let delivery = record.delivery();
    assert_eq!(&delivery.topic[..], b"tenant/acme/device/a/telemetry");
    assert_eq!(&delivery.payload[..], br#"{"a":1}"#);
    assert_eq!(delivery.message_id().to_string(), "00000000-0000-0000-0000-0000000000f1");
    assert_eq!(delivery.replay.unwrap().token.unwrap().0, [0xab; 32]);

    let (actor, now) = (Actor::new("cli:bob"), Timestamp::from_micros(1_800_000_000_000_000));
    let places = [oldest[0].summary.place(), record.summary.place()];
    assert_eq!(mark_replayed(&pool, &actor, &places[..1], now).await, Ok(1));
    assert_eq!(
        mark_replayed(&pool, &actor, &places, now).await,
        Ok(1),
        "the other was marked before"
    );
    assert_eq!(listed(&database, &["--replayed"]), "12");
    let audited = "SELECT actor, action, detail->'events'->>0 FROM audit_log ORDER BY id";
    assert_eq!(
        database.query(audited),
        [2, 1].map(|n| ["cli:bob".into(), "quarantine.replay".into(), id(n)])
    );
}

/// Messages of an unknown device, with the hash of the token each carried: three of its own,
/// three of somebody's.
const UNKNOWN: &str = "INSERT INTO quarantine_events (id, received_at, topic, tenant_id, device_id, msg_type,
        reason, detail, payload, token_sha256, message_id)
    SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now() - n * interval '1 second',
        'tenant/acme/device/late/telemetry', 'acme', 'late', 'telemetry', 'UNREGISTERED_DEVICE', 'because',
        convert_to('{\"seq\":' || n || ',\"provision_token\":\"[redacted]\"}', 'UTF8'),
        encode(sha256(CASE WHEN n <= 3 THEN 'mine' ELSE 'stolen' END::bytea), 'hex'),
        ('00000000-0000-0000-0000-0000000000f' || n)::uuid
    FROM generate_series(1, 6) n";

#[test]
fn replay_checks_the_stored_hash_and_reports_each_message() {
    let database = Postgres::shared().database();
    database.query(UNKNOWN);
    database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); \
         INSERT INTO devices (tenant_id, device_id, provision_token_hash) \
         VALUES ('acme', 'late', encode(sha256('mine'), 'hex'))",
    );
    // A budget meant for floods must not keep from a person why each message was refused again.
    let replay = |more: &[&str]| {
        let line =
            [&["quarantine", "replay", "--tenant", "acme", "--output", "json"], more].concat();
        let output = sluice(&database.url(), &[("QUARANTINE_MAX_PER_MINUTE", "1")], "", &line);
        let lines: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let ends = lines
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["result"].as_str().unwrap().to_owned());
        (output.status.code(), ends.collect::<Vec<_>>())
    };
    let mixed = |good: &str| {
        (Some(1), [good, good, good, "refused", "refused", "refused"].map(String::from).to_vec())
    };
    assert_eq!(replay(&["--dry-run"]), mixed("would be stored"));
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "0", "a dry run stores nothing");
    assert_eq!(listed(&database, &["--replayed"]), "");
    assert_eq!(replay(&[]), mixed("stored"));
    assert_eq!(
        database.value("SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM telemetry"),
        "1 2 3"
    );
    assert_eq!(listed(&database, &["--replayed"]), "321");
    assert_eq!(listed(&database, &["--not-replayed"]), "654", "what is refused again stays");
    assert_eq!(replay(&[]).1, ["refused"; 3], "what was replayed is done");
    assert_eq!(
        database.value("SELECT count(*) FROM quarantine_events"),
        "6",
        "nothing is recorded again"
    );
    let audited = "SELECT action, jsonb_array_length(detail->'events')::text FROM audit_log";
    assert_eq!(database.query(audited), [["quarantine.replay", "3"]]);
}
