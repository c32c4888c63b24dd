//! The dashboard on the tables: its login is made by the stack's own script, and each query runs as that login on a
//! real schema, with rows of two tenants.
//!
//! Grafana itself does not run here: its macros and variables are replaced as it documents them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::stack::repository;
use crate::support::database::{Database, Rows, query_at};
use crate::support::dir::Scratch;
use crate::support::postgres::Postgres;
use crate::support::process::{run_to_end, search_path};

const PASSWORD: &str = "the-dashboard's-\"password\"";

/// Rows of each table that the dashboard reads: for acme one accepted and one refused message, for other two.
const ROWS: &str = r#"
    INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('other', 'Other');
    INSERT INTO devices (tenant_id, device_id, provision_token_hash)
        VALUES ('acme', 'pump-1', repeat('a', 64)), ('acme', 'pump-2', NULL), ('other', 'pump-3', NULL);
    INSERT INTO device_state (tenant_id, device_id, last_seen_at) VALUES ('acme', 'pump-1', now()), ('other', 'pump-3', now());
    INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, not_before, not_after)
        VALUES (gen_random_uuid(), 'acme', 'pump-1', repeat('ab', 32), '01', 'acme/device/pump-1', 'x', now(), now() + interval '9 days'),
            (gen_random_uuid(), 'other', 'pump-3', repeat('cd', 32), '02', 'other/device/pump-3', 'x', now(), now() + interval '9 days');
    INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
        SELECT now(), now(), tenant, device, 'telemetry', metrics::jsonb, gen_random_uuid()
        FROM (VALUES ('acme', 'pump-1', '{"celsius": 21.5, "state": "on"}'), ('other', 'pump-3', '{"foreign": 1}'))
            AS sent (tenant, device, metrics);
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, reason, detail, payload, message_id)
        SELECT gen_random_uuid(), now(), now(), 'tenant/' || tenant || '/device/x/telemetry', tenant, 'x', 'TOKEN_MISSING', 'none',
            '', gen_random_uuid() FROM (VALUES ('acme'), ('other')) AS refused (tenant);
    INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)
        VALUES (date_trunc('minute', now()), 'acme', 'TOKEN_MISSING', 7), (date_trunc('minute', now()), 'other', 'TOKEN_MISSING', 900);
"#;

fn dashboard() -> Value {
    let text =
        fs::read_to_string(repository("compose/grafana/dashboards/sluice-data.json")).unwrap();
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// A query with what Grafana puts in the place of its variables and macros.
fn filled(query: &str) -> String {
    let mut query = query.to_owned();
    for (from, to) in [
        ("${tenant:sqlstring}", "'acme'"),
        ("${device:sqlstring}", "'pump-1'"),
        ("${metric:sqlstring}", "'celsius'"),
        ("$__interval", "1m"),
    ] {
        query = query.replace(from, to);
    }
    while let Some((before, rest)) = query.split_once("$__timeFilter(") {
        let (column, after) = rest.split_once(')').expect("the macro ends");
        let (from, to) = ("now() - interval '6 hours'", "now() + interval '1 hour'");
        query = format!("{before}{column} BETWEEN {from} AND {to}{after}");
    }
    assert!(!query.contains('$'), "a variable that this test does not know: {query}");
    query
}

/// Makes the login with the script of the stack, and the URL of that login.
fn login(postgres: &Postgres, database: &Database<'_>) -> String {
    let scratch = Scratch::new("dashboard");
    let file = scratch.write("password", PASSWORD);
    // Twice: it may run again.
    for _ in 0..2 {
        let mut script = Command::new("/bin/sh");
        script.arg(repository("compose/postgres/20-dashboard.sh")).env_clear();
        script.env("PATH", search_path()).env("DASHBOARD_PASSWORD_FILE", &file);
        script.env("PGHOST", postgres.socket_dir()).env("PGPORT", postgres.port().to_string());
        run_to_end(&mut script);
    }
    let password = "the-dashboard%27s-%22password%22";
    let place = format!("127.0.0.1:{}/{}", postgres.port(), database.name());
    format!("postgres://sluice_dashboard:{password}@{place}")
}

#[test]
fn each_query_of_the_dashboard_reads_one_tenant_as_its_own_login() {
    let postgres = Postgres::private();
    let database = postgres.database();
    database.query(ROWS);
    let url = login(&postgres, &database);
    let run = |query: &str| {
        let sql = filled(query);
        query_at(&url, &sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    };

    let dashboard = dashboard();
    let mut results: BTreeMap<String, Rows> = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap().to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            results.insert(title.clone(), run(target["rawSql"].as_str().unwrap()));
        }
    }
    assert_eq!(results.len(), 14, "{:?}", results.keys());
    for (title, rows) in &results {
        assert!(!rows.is_empty(), "{title} shows nothing");
        let foreign = ["other", "pump-3", "foreign", "900"];
        let words = format!("{rows:?}");
        assert!(!foreign.iter().any(|word| words.contains(word)), "{title}: {rows:?}");
    }
    assert_eq!(results["Devices"], [["ACTIVE", "2"]]);
    assert_eq!(results["Received from in 5 minutes"], [["1"]]);
    assert_eq!(results["Certificates that end in 30 days"], [["1"]]);
    assert_eq!(results["Silent devices"][0][0], "pump-2");
    assert_eq!(results["One metric of one device"][0][1], "21.5");
    assert_eq!(results["Refused, by reason"][0][1..], ["TOKEN_MISSING", "7"]);
    assert_eq!(results["Latest refused messages"][0][2], "TOKEN_MISSING");

    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let offered = |name: &str| {
        let variable = variables.iter().find(|variable| variable["name"] == name).unwrap();
        run(variable["query"].as_str().unwrap())
    };
    assert_eq!(offered("tenant"), [["acme"], ["other"]]);
    assert_eq!(offered("device"), [["pump-1"], ["pump-2"]]);
    assert_eq!(offered("metric"), [["celsius"], ["state"]]);

    for forbidden in [
        "SELECT provision_token_hash FROM devices",
        "SELECT * FROM operators",
        "SELECT * FROM console_sessions",
        "UPDATE devices SET site_id = 'x'",
        "SET default_transaction_read_only = off; INSERT INTO tenants (tenant_id, name) VALUES ('new', 'New')",
    ] {
        assert!(query_at(&url, forbidden).is_err(), "{forbidden} is allowed");
    }
}

#[test]
fn the_dashboard_names_the_data_source_that_is_provisioned() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "sluice-data");
    let source = "compose/grafana/provisioning/datasources/postgres.yml";
    let provisioned = fs::read_to_string(repository(source)).unwrap();
    for line in [
        "uid: sluice-postgres",
        "type: grafana-postgresql-datasource",
        "user: sluice_dashboard",
        "$__file{/run/secrets/dashboard_password}",
    ] {
        assert!(provisioned.contains(line), "{line} is in {source}");
    }
    let list = &dashboard["templating"]["list"];
    assert_eq!(list[0]["current"]["value"], "sluice-postgres");
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(
            panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{}",
            panel["title"]
        );
    }
}
