//! `sluice link list`, `status`, `refused`, `refill` and `forget`, and the doctor's section, on what a daemon has
//! stored. No daemon runs: what its lanes would report is written by SQL.

use serde_json::Value;

use super::with_links;
use crate::commands::registry::{done, refused};
use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::postgres::Postgres;

const ROWS: &str = r#"
    INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'), ('other', 'O');
    INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', 'pump-1', 'ACTIVE'), ('other', 'fan-1', 'ACTIVE');
    INSERT INTO link_state (link) VALUES ('aws'), ('azure');
    INSERT INTO link_status (link, lane, replica, state, since, detail, advice, published, sent_per_second, sent_since) VALUES
        ('azure', 0, 'sluice', 'refused', now(), 'refused with code 0x87', 'change link.azure.issuer', 5, NULL, NULL),
        ('aws', 0, 'sluice', 'up', now(), NULL, NULL, 7, 2.5, '2026-11-21T06:00:00Z'),
        ('aws', 1, 'sluice', 'up', now(), NULL, NULL, 7, 1, '2026-11-21T06:00:05Z');
    INSERT INTO link_refused (link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at,
            message_id, queued_at, reason, code, detail, refused_at)
        SELECT 'azure', n, 0, CASE WHEN n = 3 THEN 'other' ELSE 'acme' END, CASE WHEN n = 3 THEN 'fan-1' ELSE 'pump-1' END,
            'telemetry', 'devices/' || n, 'raw', convert_to('{"n":' || n || '}', 'UTF8'), now(), now(), gen_random_uuid(), now(),
            CASE WHEN n = 1 THEN 'TOO_LARGE' ELSE 'NOT_AUTHORIZED' END, 135, E'no\x1b[2J', now() - n * interval '1 hour'
        FROM generate_series(1, 3) AS n;
"#;

fn database() -> Database<'static> {
    let database = Postgres::shared().database();
    database.query(ROWS);
    database
}

fn ids(rows: &Value) -> Vec<i64> {
    rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[test]
fn the_state_of_each_link_is_shown_with_its_refusal_and_advice() {
    let database = database();
    let listed = done(&database, &["link", "list"]);
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|link| &link["state"]).collect();
    assert_eq!(states, ["up", "refused"], "{listed:#}");
    assert_eq!((&listed[1]["refused"], &listed[0]["waiting"]), (&3.into(), &0.into()));
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let (code, out, _) = super::ended(&settings, &["link", "status"]);
    assert_eq!(code, 1, "{out}");
    for words in
        ["azure  refused since", "refused with code 0x87", "-> change link.azure.issuer", "aws  up"]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!out.contains("messages a second since 2026-11-21T06:00:05"), "{out}");
    assert_eq!(
        (&listed[0]["sent_per_second"], &listed[1]["sent_per_second"]),
        (&3.5.into(), &Value::Null)
    );
    let (code, out, _) = super::ended(&settings, &["link", "status", "aws"]);
    assert_eq!(code, 0);
    assert!(out.contains("3.5 messages a second since 2026-11-21T06:00:00"), "{out}");
    assert!(refused(&database, &["link", "status", "none"], 64).contains("link none not found"));
    database.query("UPDATE link_status SET reported_at = now() - interval '2 minutes'");
    assert_eq!(done(&database, &["link", "list"])[0]["state"], "unknown");
}

#[test]
fn refused_messages_are_listed_shown_retried_and_discarded() {
    let database = database();
    let list =
        |more: &[&str]| ids(&done(&database, &[&["link", "refused", "list"], more].concat()));
    assert_eq!(list(&[]), [1, 2, 3]);
    assert_eq!(list(&["--reason", "not_authorized"]), [2, 3]);
    assert_eq!(list(&["--device", "acme/pump-1", "--since", "90m"]), [1]);
    assert_eq!(list(&["--link", "aws"]), [0; 0]);
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let (_, out, err) = super::ended(&settings, &["link", "refused", "list", "--limit", "2"]);
    assert!(!out.contains('\u{1b}'), "{out}");
    let cursor = err.split("--cursor ").nth(1).unwrap().trim().to_owned();
    assert_eq!(list(&["--cursor", &cursor]), [3]);
    let shown = done(&database, &["link", "refused", "show", "azure", "2"]);
    assert_eq!((&shown["payload"], &shown["code"]), (&r#"{"n":2}"#.into(), &135.into()));
    assert!(
        refused(&database, &["link", "refused", "show", "azure", "9"], 64).contains("not found")
    );

    let retry = ["link", "refused", "retry", "--link", "azure"];
    assert!(refused(&database, &["link", "refused", "retry"], 64).contains("--all"));
    assert!(refused(&database, &["link", "refused", "retry", "7"], 64).contains("--link"));
    let counted = done(&database, &retry);
    assert_eq!((&counted["messages"], &counted["retried"]), (&3.into(), &false.into()));
    assert_eq!(list(&[]), [1, 2, 3], "a dry run changes nothing");
    let retried = done(&database, &[&retry[..], &["2", "--yes"]].concat());
    assert_eq!((&retried["messages"], &retried["retried"]), (&1.into(), &true.into()));
    assert_eq!(database.value("SELECT topic FROM link_outbox"), "devices/2");
    assert_eq!(database.value("SELECT sum(messages) FROM link_counts"), "1");
    let gone = done(&database, &["link", "refused", "discard", "--tenant", "other", "--yes"]);
    assert_eq!(gone["messages"], 1);
    assert_eq!(list(&[]), [1]);
    let actions = "SELECT string_agg(action || ' ' || actor, ', ' ORDER BY at) FROM audit_log WHERE action LIKE 'link.%'";
    let audited = database.value(actions);
    assert!(audited.contains("retry") && audited.contains("cli:alice"), "{audited}");
}

#[test]
fn stored_messages_of_a_period_are_queued_again() {
    let database = database();
    database.query(
        "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
         SELECT now() - n * interval '1 hour', now() - n * interval '1 hour', 'acme', 'pump-1', 'telemetry',
             '{\"t\":1}', gen_random_uuid() FROM generate_series(1, 4) AS n",
    );
    let file = "[link.azure]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = 1\ntransport = \"tcp\"\nclient_id = \"gate-1\"\n\
         auth = \"none\"\npublish = [{ from = \"tenant/acme/device/+/telemetry\", to = \"up/{device}\", mode = \"raw\" }]\n";
    let settings = with_links(file).set("DATABASE_URL", &database.url());
    let line = ["link", "refill", "azure", "--since", "210m", "--until", "90m", "--output", "json"];
    let run = |line: &[&str]| -> Value {
        let (code, out, err) = super::ended(&settings, line);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let counted = run(&[&line[..], &["--dry-run"]].concat());
    assert_eq!((&counted["messages"], &counted["queued"]), (&2.into(), &false.into()));
    assert_eq!(counted["bytes"], 2 * (r#"{"metrics":{"t": 1}}"#.len() + "up/pump-1".len() + 100));
    assert!(counted["first"].as_str() < counted["last"].as_str(), "{counted}");
    assert_eq!(database.value("SELECT count(*) FROM link_outbox"), "0", "a dry run");
    let queued = run(&line);
    assert_eq!((&queued["messages"], &queued["queued"]), (&2.into(), &true.into()));
    assert_eq!(queued["bytes"], counted["bytes"]);
    let audited = "SELECT string_agg(concat_ws(' ', actor, action, detail ->> 'messages'), ', ' ORDER BY id) FROM audit_log";
    let audited = database.value(audited);
    assert!(audited.starts_with("cli:") && audited.contains("link.refill-done 2"), "{audited}");
    assert_eq!(database.value("SELECT count(*) FROM link_outbox WHERE topic = 'up/pump-1'"), "2");
    let (code, _, err) =
        super::ended(&settings, &["link", "refill", "azure", "--since", "1h", "--until", "2h"]);
    assert!(code == 64 && err.contains("--since must be before"), "{err}");
}

fn of_doctor(settings: &Settings) -> String {
    let (_, out, _) = super::ended(settings, &["doctor", "--output", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let found = report["findings"].as_array().unwrap().iter();
    format!("{:?}", found.filter(|row| row["check"] == "links").collect::<Vec<_>>())
}

#[test]
fn a_link_that_is_gone_is_named_by_the_doctor_and_forgotten() {
    let database = database();
    let file = "[link.aws]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = 1\ntransport = \"tcp\"\nclient_id = \"gate-1\"\n\
         auth = \"none\"\n";
    let settings = with_links(file).set("DATABASE_URL", &database.url());
    let run = |line: &[&str]| super::ended(&settings, line);
    let (code, _, err) = run(&["link", "forget", "aws", "--yes"]);
    assert!(code == 64 && err.contains("link aws is in the links file"), "{err}");
    let (code, _, err) = run(&["link", "forget", "azure", "--yes"]);
    assert!(code == 64 && err.contains("daemon \"sluice\" has reported link azure"), "{err}");
    assert!(!of_doctor(&settings).contains("sluice link forget"), "a daemon has it still");
    database.query("UPDATE link_status SET reported_at = now() - interval '2 minutes'");
    let text = of_doctor(&settings);
    assert!(
        text.contains("link azure is not in the links file") && text.contains("3 dead letters"),
        "{text}"
    );
    assert!(
        text.contains("sluice link forget azure --yes") && !text.contains("forget aws"),
        "{text}"
    );
    let (code, out, err) = run(&["link", "forget", "azure"]);
    assert!(code == 0 && out.contains("Would forget") && err.contains("add --yes"), "{out}{err}");
    assert_eq!(database.value("SELECT count(*) FROM link_refused"), "3", "a dry run");
    let (code, out, err) = run(&["link", "forget", "azure", "--yes", "--output", "json"]);
    assert_eq!(code, 0, "{err}");
    let gone: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&gone["refused"], &gone["forgotten"]), (&3.into(), &true.into()));
    assert_eq!(database.value("SELECT count(*) FROM link_refused"), "0");
    assert_eq!(
        database.value("SELECT detail ->> 'refused' FROM audit_log WHERE action = 'link.forget'"),
        "3"
    );
    let (code, _, err) = run(&["link", "forget", "azure", "--yes"]);
    assert!(code == 64 && err.contains("link azure not found"), "{err}");
}

#[test]
fn the_doctor_names_links_that_are_not_well() {
    let database = database();
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let text = of_doctor(&settings);
    for words in [
        "link azure is refused",
        "link.azure.issuer",
        "link aws is up",
        "did not accept 3 messages",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
