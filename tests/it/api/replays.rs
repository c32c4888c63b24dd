//! Replays as jobs: a dry run, the replay of exactly what it checked, stop and continue, one at a time
//! of a tenant; a killed daemon loses nothing and stores nothing twice.

use serde_json::{Value, json};

use super::client::{ApiDaemon, Client, TOKEN, builder};
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::wait;

/// Messages of one device, ten a second, the newest a minute old.
fn events(tenant: &str, device: &str, count: usize) -> String {
    format!(
        "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type, reason, detail,
            payload, message_id)
         SELECT gen_random_uuid(), t, t, 'tenant/{tenant}/device/{device}/telemetry', '{tenant}', '{device}', 'telemetry',
            'UNREGISTERED_DEVICE', 'because', convert_to('{{\"metrics\":{{\"t\":' || n || '}}}}', 'UTF8'), gen_random_uuid()
         FROM (SELECT n, now() - interval '1 minute' - n * interval '100 ms' AS t FROM generate_series(1, {count}) n) e"
    )
}

const DEVICE: &str =
    "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('zeta', 'Zeta');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'a'), ('zeta', 'z')";

const STORED: &str = "SELECT count(*) FROM telemetry";

fn api(settings: &[(&str, &str)]) -> ApiDaemon {
    let api = ApiDaemon::with(&[&[("REQUIRE_TOKEN", "0")], settings].concat());
    wait::until("the schema is there", || api.get("/tenants").status == 200);
    api
}

fn order(api: &Client, body: &Value) -> String {
    api.post("/quarantine/replays", body).ok(201)["id"].as_str().unwrap().to_owned()
}

fn job(api: &Client, id: &str) -> Value {
    api.get(&format!("/quarantine/replays/{id}")).ok(200)
}

fn act(api: &Client, id: &str, action: &str) -> super::client::Answer {
    api.call("POST", &format!("/quarantine/replays/{id}/{action}"), None)
}

fn done(api: &Client, id: &str) -> Value {
    wait::for_some("the job is done", || Some(job(api, id)).filter(|job| job["status"] == "DONE"))
}

/// `(result, reason, count)` of each row, sorted.
fn results(of: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = of["results"].as_array().unwrap().iter();
    let mut rows: Vec<_> = rows
        .map(|row| (text(&row["result"]), text(&row["reason"]), row["count"].as_u64().unwrap()))
        .collect();
    rows.sort();
    rows
}

fn row(result: &str, reason: &str, count: u64) -> (String, String, u64) {
    (result.to_owned(), reason.to_owned(), count)
}

#[test]
fn a_dry_run_becomes_the_replay_of_exactly_what_it_checked() {
    let api = api(&[]);
    let database = &api.database;
    for sql in [DEVICE, &events("acme", "a", 250), &events("acme", "b", 3), &events("zeta", "z", 5)]
    {
        database.query(sql);
    }
    let id = order(&api, &json!({ "tenant": "acme", "search": "-id:nothing" }));
    let checked = done(&api, &id);
    let refused = row("refused", "UNREGISTERED_DEVICE", 3);
    assert_eq!(results(&checked), [refused.clone(), row("would be stored", "", 250)]);
    assert_eq!((&checked["total"], &checked["done"]), (&json!(253), &json!(253)));
    assert_eq!(database.value(STORED), "0", "a dry run stores nothing");
    assert_eq!(database.value("SELECT sum(replay_attempts) FROM quarantine_events"), "0");

    // One message more, one less.
    database.query(
        "INSERT INTO quarantine_events (id, received_at, topic, tenant_id, device_id, msg_type, reason, detail, payload, message_id)
            VALUES (gen_random_uuid(), now(), 'tenant/acme/device/a/telemetry', 'acme', 'a', 'telemetry', 'UNREGISTERED_DEVICE', '',
            '{\"metrics\":{}}', gen_random_uuid());
         DELETE FROM quarantine_events WHERE payload = convert_to('{\"metrics\":{\"t\":7}}', 'UTF8') AND device_id = 'a'",
    );
    assert_eq!(act(&api, &id, "start").ok(200)["stage"], "REPLAY");
    let replayed = done(&api, &id);
    assert_eq!(results(&replayed), [refused.clone(), row("stored", "", 249)]);
    assert_eq!(results(&replayed["dry_run"]), [refused, row("would be stored", "", 250)]);
    assert_eq!(replayed["dry_run"]["storable"], 250);
    let changes = json!([
        { "result": "stored", "reason": null, "dry_run": 250, "replay": 249 },
        { "result": "gone", "reason": null, "dry_run": 0, "replay": 1 },
    ]);
    assert_eq!(replayed["changes"], changes);
    assert_eq!(database.value(STORED), "249");
    let open = "SELECT device_id, replay_attempts::text, count(*)::text FROM quarantine_events WHERE replayed_at IS NULL
        AND tenant_id = 'acme' GROUP BY 1, 2 ORDER BY 1";
    assert_eq!(
        database.query(open),
        [["a", "0", "1"], ["b", "1", "3"]],
        "newer, and refused again"
    );
    assert_eq!(api.daemon.metric("sluice_messages_total{result=\"stored\"}").to_string(), "249");

    for action in ["start", "stop"] {
        act(&api, &id, action).problem(409, "conflict");
    }
    act(&api, "00000000-0000-0000-0000-000000000001", "start").problem(404, "not-found");
    let audited =
        "SELECT DISTINCT actor, action FROM audit_log WHERE action LIKE 'quarantine%' ORDER BY 2";
    let expected =
        [["api", "quarantine.check"], ["api", "quarantine.replay"], ["api", "quarantine.start"]];
    assert_eq!(database.query(audited), expected);
    assert_eq!(api.walk("/quarantine/replays?tenant=acme", 1).len(), 1);
    assert_eq!(api.walk("/quarantine/replays?tenant=zeta", 1).len(), 0);
}

#[test]
fn what_ten_replays_have_refused_is_left_out_unless_it_is_chosen() {
    let api = api(&[]);
    api.database.query(&events("acme", "b", 2));
    api.database
        .query("UPDATE quarantine_events SET replay_attempts = 10 WHERE payload LIKE '%1}}'");
    let all = done(&api, &order(&api, &json!({ "all": true })));
    let refused = |count| row("refused", "UNREGISTERED_DEVICE", count);
    assert_eq!(results(&all), [row("left out", "", 1), refused(1)]);
    let mut left_out = all["results"].as_array().unwrap().iter();
    let left_out = left_out.rfind(|row| row["result"] == "left out").unwrap();
    let chosen = done(&api, &order(&api, &json!({ "ids": [left_out["example"]] })));
    assert_eq!(results(&chosen), [refused(1)]);
    for body in [json!({}), json!({ "all": true, "search": "pump-1" })] {
        assert_eq!(api.post("/quarantine/replays", &body).blamed(), "all");
    }
    assert_eq!(
        api.post("/quarantine/replays", &json!({ "search": "colour:red" })).blamed(),
        "search"
    );
}

#[test]
fn of_a_tenant_one_job_runs_and_a_stopped_one_continues() {
    let api = api(&[("QUARANTINE_REPLAY_RPS", "100")]);
    for sql in [DEVICE, &events("acme", "a", 300), &events("zeta", "z", 1)] {
        api.database.query(sql);
    }
    let id = order(&api, &json!({ "tenant": "acme" }));
    for body in [json!({ "tenant": "acme", "device": "a" }), json!({ "all": true })] {
        api.post("/quarantine/replays", &body).problem(409, "conflict");
    }
    let other = order(&api, &json!({ "tenant": "zeta" }));
    let begun =
        wait::for_some("it has begun", || Some(job(&api, &id)).filter(|job| job["done"] != 0));
    assert_eq!((&begun["status"], &begun["is_worked_on"]), (&json!("RUNNING"), &json!(true)));
    act(&api, &id, "start").problem(409, "conflict");
    assert_eq!(act(&api, &id, "stop").ok(200)["status"], "STOPPED");
    // The other job is done although this one began before it: they take turns.
    assert_eq!(done(&api, &other)["done"], 1);
    let stopped = job(&api, &id);
    assert_eq!(stopped["status"], "STOPPED");
    assert!(stopped["done"].as_u64().unwrap() < 300, "{stopped}");
    assert_eq!(act(&api, &id, "start").ok(200)["stage"], "DRY_RUN", "it was not finished");
    assert_eq!(results(&done(&api, &id)), [row("would be stored", "", 300)]);
    act(&api, &id, "start").ok(200);
    wait::until("some are stored", || api.database.value(STORED) != "0");
    act(&api, &id, "stop").ok(200);
    act(&api, &id, "start").ok(200);
    assert_eq!(done(&api, &id)["done"], 300);
    assert_eq!(api.database.value(STORED), "300");
    let marked = "SELECT count(*) FROM quarantine_events WHERE replayed_at IS NOT NULL";
    assert_eq!(api.database.value(marked), "300");
}

fn daemon_on(database: &Database<'_>) -> (crate::support::daemon::Daemon, Client) {
    let settings = [("REQUIRE_TOKEN", "0"), ("QUARANTINE_REPLAY_RPS", "100")];
    let started = builder().on_database(database).with(&settings).start();
    let client = Client::of(started.listening("HTTP_BIND"), Some(TOKEN));
    wait::until("the schema is there", || client.get("/tenants").status == 200);
    (started.daemon, client)
}

#[test]
fn a_killed_daemon_loses_nothing_and_another_one_continues() {
    let database = Postgres::shared().database();
    database.query(DEVICE);
    database.query(&events("acme", "a", 300));
    let (first, api) = daemon_on(&database);
    let id = order(&api, &json!({ "search": "tenant:acme reason:UNREGISTERED_DEVICE" }));
    done(&api, &id);
    act(&api, &id, "start").ok(200);
    wait::until("it has begun", || job(&api, &id)["done"] != 0);
    first.kill9();
    assert_eq!(database.value("SELECT status FROM quarantine_replays"), "RUNNING");
    // As if the daemon had died after it stored messages, and before it recorded that.
    database.query(
        "UPDATE quarantine_replays SET after_at = NULL, after_id = NULL, done = 0, results = '[]';
         UPDATE quarantine_events SET replayed_at = NULL",
    );
    let stored: u64 = database.value(STORED).parse().unwrap();
    assert!((1..300).contains(&stored), "{stored} are stored");
    let (_second, api) = daemon_on(&database);
    let replayed = done(&api, &id);
    assert_eq!(
        results(&replayed),
        [row("stored", "", 300 - stored), row("stored before", "", stored)]
    );
    let distinct = "SELECT count(DISTINCT metrics), count(*) FROM telemetry";
    assert_eq!(database.query(distinct), [["300", "300"]]);
}
