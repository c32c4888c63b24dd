//! What the README lists is what there is: every setting with its default and what is allowed, every reason, every metric.
//!
//! It judges the rows of tables only; that the sentences around them are true is for people to see.

use std::collections::BTreeSet;
use std::fs;

use sluice::config::setting::Setting;
use sluice::config::table;
use sluice::domain::refusal::Reason;
use sluice::telemetry::metrics::Metrics;

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// Fails with the rows that are missing, ready to be put in, and with those that nothing stands behind.
fn holds_exactly(rows: &[String], what: &str, is_one: impl Fn(&str) -> bool) {
    let readme = readme();
    let lines: BTreeSet<&str> = readme.lines().collect();
    let missing: Vec<&str> = rows.iter().map(String::as_str).filter(|row| !lines.contains(row)).collect();
    assert!(missing.is_empty(), "README.md has no such row of {what}:\n{}", missing.join("\n"));
    let left_over: Vec<&str> = lines.into_iter().filter(|line| is_one(line)).collect();
    assert_eq!(left_over.len(), rows.len(), "README.md has other {what} than there are:\n{}", left_over.join("\n"));
}

fn row_of_setting(setting: &Setting) -> String {
    let default = setting.default.map_or("not set".to_owned(), |default| format!("`{default}`"));
    let secret = if setting.is_secret() { format!(" Or its file: `{}_FILE`.", setting.name) } else { String::new() };
    let row = format!("| `{}` | {default} | {} Allowed: {}.{secret} |", setting.name, setting.doc, setting.kind);
    // A tenant in angle brackets would be taken for markup.
    row.replace('<', "\\<")
}

#[test]
fn every_setting_has_its_row_in_the_readme() {
    let rows: Vec<_> = table::all().map(|(_, setting)| row_of_setting(setting)).collect();
    holds_exactly(&rows, "settings", |line| line.contains(" Allowed: "));
}

#[test]
fn every_reason_has_its_row_in_the_readme() {
    let readme = readme();
    for reason in Reason::ALL {
        assert!(readme.contains(&format!("\n| `{reason}` | ")), "README.md has no row of the reason {reason}");
    }
}

#[test]
fn every_metric_has_its_row_in_the_readme() {
    let metrics = Metrics::new().unwrap();
    // A metric whose labels only the database or the settings know shows itself with its first series.
    metrics.certificates.certificates.with_label_values(&["ACTIVE"]);
    metrics.access.keys_age.with_label_values(&["https://id.example.org"]);
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let kind = |name: &str| {
        let start = format!("# TYPE {name} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap()
    };
    let rows: Vec<_> = helps.map(|(name, help)| format!("| `{name}` | {} | {help} |", kind(name))).collect();
    let kinds = [" | counter | ", " | gauge | ", " | histogram | "];
    holds_exactly(&rows, "metrics", |line| kinds.iter().any(|kind| line.contains(kind)));
}
