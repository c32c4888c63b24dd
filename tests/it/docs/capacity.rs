//! `scripts/capacity`: what it calculates is what the page about growing says, its figures are those that
//! were measured, and a wrong argument is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs/explanation").join(name)).unwrap()
}

fn capacity(arguments: &str) -> Output {
    let script = root().join("scripts/capacity");
    Command::new(script).args(arguments.split_whitespace()).output().unwrap()
}

fn calculated(arguments: &str) -> String {
    let output = capacity(arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The value of a row.
fn value<'a>(text: &'a str, row: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(row)).expect(row);
    line[row.len()..].trim().split("  ").next().unwrap()
}

#[test]
fn the_page_about_growing_says_what_the_script_calculates() {
    let growing = page("growing.md");
    let command = growing.lines().find(|line| line.starts_with("scripts/capacity ")).unwrap();
    let text = calculated(command.strip_prefix("scripts/capacity ").unwrap());
    assert_eq!(value(&text, "messages per second"), "1,000,000");
    for (row, sentence) in [
        ("cells", "cells of 45,000"),
        ("disk, kept for 30 days", "for 30 days with the columnstore"),
    ] {
        let of_fleet = text.lines().rev().find(|line| line.starts_with(row)).unwrap();
        let number = value(of_fleet, row);
        assert!(growing.contains(&format!("{number} {sentence}")), "{row}: {number}");
    }
    let [own, broker, postgres] = ["3.6", "13.1", "11.1"];
    assert!(
        text.contains(&format!("Sluice {own}, Mosquitto {broker}, Postgres {postgres} ")),
        "{text}"
    );
    let measured = format!("| sluice, QoS 1 | 65,284 | {own} | {broker} | {postgres} |");
    assert!(page("performance.md").contains(&measured), "the figures are those of the bench");
}

#[test]
fn more_messages_need_more_cells_and_a_layout_changes_what_it_should() {
    let cells =
        |arguments: &str| -> u32 { value(&calculated(arguments), "cells").parse().unwrap() };
    assert_eq!(cells("--devices 10000 --every 10"), 1);
    assert_eq!(cells("--devices 1000000 --every 60"), 2, "bound by its devices");
    assert_eq!(cells("--devices 1000000 --every 2"), 11, "bound by its messages");
    assert_eq!(cells("--devices 1000000 --every 2 --load 30"), 22);
    let kept = |layout: &str| {
        let text = calculated(&format!(
            "--devices 1000 --every 1 --bytes 175 --days 10 --layout {layout}"
        ));
        value(&text, "disk, kept for 10 days").to_owned()
    };
    // 400 bytes x 1,000/s x 86,400 s x 10 days; with the columnstore 2 days, and 8 that are 8.6 times smaller.
    assert_eq!([kept("plain"), kept("timescale")], ["346 GB", "101 GB"]);
}

#[test]
fn the_figures_of_a_report_replace_those_of_the_page() {
    let report = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("capacity-report.json");
    let case = r#"{"cases":[{"name":"sluice, QoS 1","median":{"cpu_us_per_message":{"own":2.0,"broker":6.0,"database":5.5}}}]}"#;
    fs::write(&report, case).unwrap();
    let text = calculated(&format!("--devices 1000000 --every 1 --report {}", report.display()));
    assert!(
        text.starts_with("CPU per message (us): Sluice 2.0, Mosquitto 6.0, Postgres 5.5 from "),
        "{text}"
    );
    assert_eq!(value(&text, "cells"), "10", "a faster machine carries more: {text}");
    fs::write(&report, r#"{"cases":[]}"#).unwrap();
    let output = capacity(&format!("--devices 1 --report {}", report.display()));
    assert_eq!(output.status.code(), Some(69));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("scripts/bench --quick"),
        "{output:?}"
    );
}

#[test]
fn a_wrong_argument_is_named() {
    for (arguments, named) in [
        ("", "Usage: scripts/capacity"),
        ("--devices", "--devices expects a value"),
        ("--devices many", "--devices expects a whole number from 1 to 1000000000, not 'many'"),
        ("--devices 5 --every 0", "--every expects a whole number from 1 to 86400, not '0'"),
        ("--devices 5 --layout oracle", "--layout expects plain, timescale or citus, not 'oracle'"),
        ("--devices 5 --cells 3", "Usage: scripts/capacity"),
    ] {
        let output = capacity(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{arguments}: {said}");
        assert!(said.contains(named), "{arguments}: {said}");
    }
    assert!(calculated("--help").contains("Example: scripts/capacity --devices"));
}
