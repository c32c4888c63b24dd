//! The reference pages in docs/reference that follow from the code: settings, metrics, exit codes,
//! alerts, reasons.
//!
//! A page is compared with what the code says; `UPDATE_DOCS=1` writes it instead. Sentences around
//! the tables are for people.

use std::fmt::Write as _;
use std::fs;

use sluice::command::failure::Exit;
use sluice::config::setting::Setting;
use sluice::config::table;
use sluice::console::console_keys_table;
use sluice::domain::refusal::Reason;
use sluice::link::file::keys;
use sluice::telemetry::metrics::Metrics;

/// The first line of a generated block; everything up to [`END`] is written by the test.
pub const BEGIN: &str = "<!-- generated: UPDATE_DOCS=1 cargo test --test tidy -->";
pub const END: &str = "<!-- end of generated -->";

/// Every way a command ends; [`meaning`] has to name each.
const EXITS: [Exit; 6] =
    [Exit::Done, Exit::Negative, Exit::Usage, Exit::Unavailable, Exit::Internal, Exit::Config];

#[test]
fn the_page_of_settings_is_current() {
    is_current("settings", &settings());
}

#[test]
fn the_page_of_metrics_is_current() {
    is_current("metrics", &metrics());
}

#[test]
fn the_page_of_the_links_file_is_current() {
    is_current("links-file", &links_file());
}

#[test]
fn the_page_of_console_keys_is_current() {
    is_current("console-keys", &console_keys_table());
}

#[test]
fn the_page_of_exit_codes_is_current() {
    is_current("exit-codes", &exit_codes());
}

#[test]
fn the_page_of_alerts_is_current() {
    is_current("alerts", &alerts(&read("compose/prometheus/rules/sluice.yml")));
}

/// When each reason applies and what to do is written by hand; that there is a row for each, in
/// order, is not.
#[test]
fn every_reason_has_its_row_in_the_order_of_the_checks() {
    let page = read("docs/reference/reasons.md");
    let names = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let found: Vec<&str> = names.map(|(name, _)| name).collect();
    let expected: Vec<String> = Reason::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_stale_block_is_found_and_the_text_around_it_is_kept() {
    let page = format!("# Page\n\n{BEGIN}\n\nold\n\n{END}\n\nby hand\n");
    assert_ne!(with_block(&page, "new\n"), page);
    assert_eq!(with_block(&page, "new\n"), page.replace("old", "new"));
    assert_eq!(with_block(&page, "old\n"), page);
}

#[test]
fn an_alert_without_an_action_or_with_a_long_condition_is_read() {
    let rules = "groups:\n  - name: a\n    rules:\n      - alert: Down\n        # Why.\n        expr: >-\n          up == 0\n          \
                 and x\n        for: 1m\n        labels: { severity: critical }\n        annotations:\n          summary: \"gone\"\n";
    assert_eq!(
        alerts(rules),
        "## `Down`\n\nSeverity: critical, after 1m. Message: gone\n\n```promql\nup == 0\nand x\n```\n"
    );
}

// === the blocks ===

fn settings() -> String {
    let mut block = String::new();
    for area in &table::AREAS {
        let _ = writeln!(
            block,
            "## `[{}]`\n\n{}\n\n| setting | default | what it does |\n|---|---|---|",
            area.name, area.doc
        );
        for setting in area.settings {
            let _ = writeln!(block, "{}", row_of_setting(setting));
        }
        block.push('\n');
    }
    block.trim_end().to_owned() + "\n"
}

fn row_of_setting(setting: &Setting) -> String {
    let default = setting.default.map_or("not set".to_owned(), |default| format!("`{default}`"));
    let secret = if setting.is_secret() {
        format!(" Or its file: `{}_FILE`.", setting.name)
    } else {
        String::new()
    };
    let row = format!(
        "| `{}` | {default} | {} Allowed: {}.{secret} |",
        setting.name, setting.doc, setting.kind
    );
    // A tenant in angle brackets would be taken for markup.
    row.replace('<', "\\<")
}

fn metrics() -> String {
    let metrics = Metrics::new().unwrap();
    // A metric whose labels only the database or the settings know appears with its first series.
    metrics.certificates.certificates.with_label_values(&["ACTIVE"]);
    metrics.certificates.cell_authority_not_after.with_label_values(&["north"]);
    metrics.store.engine.with_label_values(&["plain", "15.20"]);
    metrics.issuer_keys.keys_age.with_label_values(&["https://id.example.org"]);
    begin_link(&metrics);
    metrics.plugin.begin("default");
    metrics.plugin.show_up("default", false);
    let (cells, label) = (&metrics.cells, &["north"]);
    cells.seen_seconds.with_label_values(label);
    for gauge in [&cells.wal_held_bytes, &cells.lag_bytes, &cells.slot_ok] {
        gauge.with_label_values(label);
    }
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    let kind = |name: &str| {
        let start = format!("# TYPE {name} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap()
    };
    let mut block = "| metric | type | meaning |\n|---|---|---|\n".to_owned();
    for (name, help) in
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
    {
        let _ = writeln!(block, "| `{name}` | {} | {help} |", kind(name));
    }
    block
}

/// The series of a link: the links file names them.
fn begin_link(metrics: &Metrics) {
    let links = &metrics.links;
    links.begin("azure");
    links.up.with_label_values(&["azure", "0"]);
    links.state.with_label_values(&["azure", "up"]);
    links.connects.with_label_values(&["azure", "connected"]);
    links.refusals.with_label_values(&["azure", "PUBACK", "0x87"]);
    links.token_expires.with_label_values(&["azure"]);
    links.credentials_expire.with_label_values(&["azure"]);
    links.send_seconds.with_label_values(&["azure"]);
    metrics.link_ingest.start(&"azure".parse().unwrap());
}

fn links_file() -> String {
    let tables = [
        ("The file", keys::TOP_KEYS),
        ("`[link.<name>]`", keys::LINK),
        ("A rule of `publish`", keys::PUBLISH),
        ("A rule of `ingest`", keys::INGEST),
    ];
    let mut block = String::new();
    for (title, rows) in tables {
        let _ = writeln!(block, "## {title}\n\n| key | default | what it does |\n|---|---|---|");
        for key in rows {
            let logins: Vec<_> = key.of_auth.iter().map(|auth| format!("`{auth}`")).collect();
            let only = if logins.is_empty() {
                String::new()
            } else {
                format!("With `auth` {}. ", logins.join(", "))
            };
            let _ = writeln!(block, "| `{}` | {} | {only}{} |", key.name, key.default, key.doc);
        }
        block.push('\n');
    }
    block.trim_end().to_owned() + "\n"
}

fn exit_codes() -> String {
    let mut block = "| code | meaning |\n|---|---|\n".to_owned();
    for exit in EXITS {
        let _ = writeln!(block, "| {} | {} |", exit as u8, meaning(exit));
    }
    block
}

fn meaning(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "done",
        Exit::Negative => {
            "the command ran and the answer is no: a finding of `doctor` or `access lint`, a refusal of `explain`, a denial of \
             `access check`, a daemon that is not ready (`health`), a message refused again by `quarantine replay`, a step of \
             `cert revoke --wait` that was not done in time, a fault found by `ca init`, `ca show` or `crl show`, data that \
             `retention --yes` may not delete, a promise that `demo` or `simulate --verify` found broken"
        }
        Exit::Usage => "the command line is wrong, or names something that does not exist",
        Exit::Unavailable => {
            "a dependency is unavailable: Postgres, the broker, the daemon; or `run` exited at `SHUTDOWN_TIMEOUT_SECONDS`"
        }
        Exit::Internal => "an internal error, or a second signal while stopping",
        Exit::Config => {
            "the settings are invalid; for `run` also an address that is in use, or a schema that does not match this version"
        }
    }
}

/// The rules as sections. It reads only the form that the file has: one key a line, long conditions
/// folded.
fn alerts(rules: &str) -> String {
    let mut block = String::new();
    for rule in rules.split("- alert: ").skip(1) {
        let (name, body) = rule.split_once('\n').unwrap();
        let value =
            |key: &str| body.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
        let quoted = |key: &str| value(key).map(|text| text.trim_matches('"'));
        let severity = value("labels: { severity: ").unwrap().trim_end_matches(" }");
        let wait = value("for: ").map_or(String::new(), |wait| format!(", after {wait}"));
        let action =
            quoted("action: ").map_or(String::new(), |action| format!("\n\nWhat to do: {action}"));
        let _ = writeln!(
            block,
            "## `{name}`\n\nSeverity: {severity}{wait}. Message: {}{action}\n\n```promql\n{}\n```\n",
            quoted("summary: ").unwrap(),
            condition(body)
        );
    }
    block.trim_end().to_owned() + "\n"
}

fn condition(body: &str) -> String {
    let mut lines = body.lines().map(str::trim).skip_while(|line| !line.starts_with("expr:"));
    let first = lines.next().unwrap().trim_start_matches("expr:").trim();
    if first != ">-" {
        return first.to_owned();
    }
    let is_key = |line: &&str| line.starts_with("for: ") || line.starts_with("labels: ");
    lines.take_while(|line| !is_key(line)).collect::<Vec<_>>().join("\n")
}

// === the pages ===

pub fn is_current(page: &str, block: &str) {
    let path = format!("docs/reference/{page}.md");
    let text = read(&path);
    let expected = with_block(&text, block);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root(&path), expected).unwrap();
        return;
    }
    let lines = expected.lines().zip(text.lines());
    let first =
        lines.filter(|(expected, found)| expected != found).map(|(expected, _)| expected).next();
    assert!(
        expected == text,
        "{path} is stale; write it with `UPDATE_DOCS=1 cargo test --test tidy`. The first other line:\n{first:?}"
    );
}

fn with_block(page: &str, block: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).expect("the page has a generated block");
    let (_, after) = rest.split_once(END).expect("the generated block ends");
    format!("{before}{BEGIN}\n\n{block}\n{END}{after}")
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap()
}

fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}
