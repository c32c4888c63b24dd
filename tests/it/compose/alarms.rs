//! The dashboard and the alert rules: they name metrics that exist, and each alarm goes off when it
//! should.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use sluice::telemetry::metrics::Metrics;

use super::stack::{repository, words};
use crate::support::process::find_program;

/// Those of certificates, which the registry brings.
const OF_CERTIFICATES: [&str; 5] = [
    "sluice_certificates",
    "sluice_certificate_earliest_not_after_seconds",
    "sluice_crl_next_update_seconds",
    "sluice_crl_enforced",
    "sluice_revocation_seconds",
];

/// Metrics whose series begin with their first event.
const OF_EVENTS: [&str; 6] = [
    "sluice_api_requests_total",
    "sluice_certificates_renewed_total",
    "sluice_commands",
    "sluice_cell_seen_seconds",
    "sluice_cell_wal_held_bytes",
    "sluice_cell_slot_ok",
];

/// What the rows of the dashboard are, in their order.
const ROWS: [&str; 10] = [
    "Ingest",
    "Latency and acknowledgement",
    "Refused, by reason",
    "Authorization cache",
    "Database",
    "Certificates",
    "The way back",
    "Links",
    "Replicas",
    "Cells",
];

const RULES: &str = "compose/prometheus/rules/sluice.yml";

fn dashboard() -> Value {
    let text = fs::read_to_string(repository("compose/grafana/dashboards/sluice.json")).unwrap();
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// Every metric of ours that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("sluice_"));
    found.map(str::to_owned).collect()
}

/// Every series the daemon shows, by the names of its exposition.
fn existing() -> BTreeSet<String> {
    let text = String::from_utf8(Metrics::new().unwrap().render().unwrap()).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let mut names: BTreeSet<String> =
        series.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
    names.extend(OF_CERTIFICATES.map(str::to_owned));
    names.extend(OF_EVENTS.map(str::to_owned));
    names.insert("sluice_revocation_seconds_bucket".into());
    // Series of links, plugins and authorities of cells begin with these; the page lists them all.
    let page = fs::read_to_string(repository("docs/reference/metrics.md")).unwrap();
    let begins = ["sluice_link_", "sluice_plugin_", "sluice_cell_authority_"];
    let is_later = |name: &String| begins.iter().any(|begin| name.starts_with(begin));
    let later: Vec<String> = named(&page).into_iter().filter(is_later).collect();
    names.extend(later.iter().map(|name| format!("{name}_bucket")));
    names.extend(later);
    names
}

#[test]
fn every_metric_that_is_shown_or_watched_exists() {
    let rules = fs::read_to_string(repository(RULES)).unwrap();
    let mut used: BTreeSet<String> =
        rules.lines().filter(|line| !line.contains("summary:")).flat_map(named).collect();
    let panels = dashboard();
    let targets = panels["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    used.extend(targets.flat_map(|target| named(target["expr"].as_str().unwrap())));
    assert!(used.len() > 20, "{used:?}");
    let existing = existing();
    // An action names histograms as a person does.
    let known =
        |name: &String| existing.contains(name) || existing.contains(&format!("{name}_bucket"));
    let unknown: Vec<&String> = used.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "no such metric: {unknown:?}");
    assert!(OF_CERTIFICATES.iter().all(|name| used.iter().any(|used| used.starts_with(name))));
}

#[test]
fn the_dashboard_has_its_fixed_name_its_rows_and_a_place_for_each_panel() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "sluice-overview");
    let panels = dashboard["panels"].as_array().unwrap();
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    assert_eq!(rows.map(|row| row["title"].as_str().unwrap()).collect::<Vec<_>>(), ROWS);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(
            panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{}",
            panel["title"]
        );
    }
    let provisioned =
        fs::read_to_string(repository("compose/grafana/provisioning/datasources/prometheus.yml"))
            .unwrap();
    assert!(provisioned.contains("uid: sluice-prometheus"));
    assert_eq!(dashboard["templating"]["list"][0]["current"]["value"], "sluice-prometheus");
}

#[test]
fn every_alert_goes_off_when_it_should_and_only_then() {
    let promtool =
        find_program("promtool").expect("promtool is not installed; scripts/test installs it");
    for arguments in [
        ["check", "config", "compose/prometheus/prometheus.yml"],
        ["test", "rules", "tests/compose/alerts_test.yml"],
    ] {
        let output =
            Command::new(&promtool).args(arguments).current_dir(repository("")).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
    }
    let rules = fs::read_to_string(repository(RULES)).unwrap();
    let shown = fs::read_to_string(repository("tests/compose/alerts_test.yml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert_eq!(shown.matches(&format!("{alert}\"")).count(), 1, "{alert} is shown to fire");
        assert_eq!(
            shown.matches(&format!("alertname: {alert} ")).count(),
            1,
            "{alert} is shown to be silent"
        );
    }
    // Each panel's question is one that Prometheus understands.
    let panels = dashboard();
    let targets = panels["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let questions = targets.enumerate().map(|(number, target)| {
        let question = target["expr"]
            .as_str()
            .unwrap()
            .replace("$__rate_interval", "5m")
            .replace("$instance", ".*");
        serde_json::json!({ "record": format!("panel:{number}"), "expr": question })
    });
    let document = serde_json::json!({ "groups": [{ "name": "panels", "rules": questions.collect::<Vec<_>>() }] });
    let scratch = crate::support::dir::Scratch::new("panels");
    let file = scratch.write("panels.yml", document.to_string());
    let output = Command::new(&promtool).args(["check", "rules"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}
