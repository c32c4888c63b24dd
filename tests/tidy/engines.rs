//! What Citus and Timescale refuse stays out of the statements on data tables: a row named by its place,
//! the number of rows that the server reports of an INSERT that skips, a notification in a trigger.
//!
//! It reads the text. The engines themselves run in `tests/it/engines`.

use std::fs;

use super::source::Source;

/// Files that name rows by place, each with the reason why its table is never distributed.
const BY_PLACE: [(&str, &str); 4] = [
    ("src/store/schema/expiry.rs", "it asks first whether the table is distributed"),
    ("src/store/downlink/pushes.rs", "device_pushes has a trigger that notifies"),
    ("src/store/downlink/outbox.rs", "device_pushes has a trigger that notifies"),
    ("src/store/downlink/command_queue.rs", "device_commands has a trigger that notifies"),
];

/// Tables that an engine may hold.
const DATA_TABLES: [&str; 1] = ["telemetry"];

/// The findings in a source.
fn refused_by_engines(path: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut findings = Vec::new();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let lines: Vec<&str> = code.lines().filter(is_code).collect();
    let names_a_place = lines.iter().any(|line| {
        line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "ctid")
    });
    if names_a_place && !BY_PLACE.iter().any(|(known, _)| *known == path) {
        findings.push(format!("{path}: ctid has no meaning in a distributed table"));
    }
    let joined = lines.join("\n");
    for table in DATA_TABLES.iter().chain(&["{table}", "{quoted_table}"]) {
        if joined.contains(&format!("(SELECT FROM {table} ")) {
            findings.push(format!(
                "{path}: Citus plans no SELECT without a column: SELECT 1 FROM {table}"
            ));
        }
    }
    for table in DATA_TABLES {
        for statement in joined.split(&format!("INSERT INTO {table} ")).skip(1) {
            let statement = statement.split("\";").next().unwrap_or_default();
            let statement = statement.split("};").next().unwrap_or_default();
            if let Some((_, rest)) = statement.split_once("ON CONFLICT")
                && !rest.contains("RETURNING")
            {
                findings.push(format!(
                    "{path}: count the rows of INSERT INTO {table} .. ON CONFLICT by RETURNING"
                ));
            }
        }
    }
    findings
}

/// Triggers on data tables in the migrations.
fn triggers_on_data_tables(path: &str, text: &str) -> Vec<String> {
    let statements = text.split(';').filter(|statement| statement.contains("CREATE TRIGGER"));
    let of_data = statements.filter(|statement| {
        let words: Vec<&str> = statement.split_whitespace().collect();
        words.windows(2).any(|pair| pair[0] == "ON" && DATA_TABLES.contains(&pair[1]))
    });
    of_data.map(|_| format!("{path}: Citus distributes no table with a trigger")).collect()
}

#[test]
fn no_statement_is_one_that_an_engine_refuses() {
    let mut findings: Vec<String> = Source::all()
        .iter()
        .filter(|source| source.path.starts_with("src/"))
        .flat_map(|source| refused_by_engines(&source.path, &source.text))
        .collect();
    for entry in fs::read_dir("migrations").unwrap().map(Result::unwrap) {
        let path = entry.path();
        let text = fs::read_to_string(&path).unwrap();
        findings.extend(triggers_on_data_tables(&path.display().to_string(), &text));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn the_rules_of_the_engines_find_what_they_forbid() {
    let found = |text: &str| refused_by_engines("src/store/x.rs", text).len();
    assert_eq!(found("const A: &str = \"DELETE FROM telemetry WHERE ctid = ANY ($1)\";"), 1);
    assert_eq!(found("// ctid\nconst A: &str = \"SELECT octid\";"), 0);
    let skips = "const A: &str = \"INSERT INTO telemetry (a) SELECT 1 ON CONFLICT DO NOTHING";
    assert_eq!(found(&format!("{skips}\";")), 1);
    assert_eq!(found(&format!("{skips} RETURNING true\";")), 0);
    assert_eq!(found("const A: &str = \"SELECT EXISTS (SELECT FROM telemetry WHERE true)\";"), 1);
    let trigger = "CREATE TRIGGER a AFTER INSERT ON telemetry FOR EACH ROW EXECUTE FUNCTION f();";
    assert_eq!(triggers_on_data_tables("m", trigger).len(), 1);
    assert!(triggers_on_data_tables("m", &trigger.replace("telemetry", "devices")).is_empty());
}
