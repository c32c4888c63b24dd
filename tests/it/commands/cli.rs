//! The commands next to the daemon, as a person types them: what they print, what they change, and
//! how they end.

pub mod explain;
pub mod settings;

use std::process::Output;

use crate::support::daemon::Settings;

/// Runs it; the exit code, what it printed, and what it complained of.
fn ended(settings: &Settings, line: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = settings.command(line).output().unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    (status.code().unwrap(), out, err)
}

#[test]
fn a_command_line_that_is_wrong_ends_with_64_and_says_what_would_be_right() {
    let settings = Settings::empty();
    for (line, words) in [
        (&["rum"][..], "run"),
        (&[], "Usage"),
        (&["run", "--nonsense"], "--nonsense"),
        (&["explain"], "--topic"),
        (
            &["explain", "--topic", "t", "--payload", "/nonexistent"],
            "cannot read the payload from /nonexistent",
        ),
        (&["run", "--set", "MQTT_PORT"], "expected NAME=VALUE"),
        (&["config"], "template"),
        (&["migrate", "--output", "xml"], "json"),
    ] {
        let (code, _, said) = ended(&settings, line);
        assert_eq!(code, 64, "{line:?}: {said}");
        assert!(said.contains(words), "{line:?}: {said}");
    }
}

#[test]
fn the_help_of_every_command_holds_an_example() {
    let settings = Settings::empty();
    let mut open: Vec<Vec<String>> = vec![vec![]];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let line: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = settings.run(&line);
        assert!(
            path.is_empty() || help.contains("Example"),
            "sluice {} --help:\n{help}",
            path.join(" ")
        );
        let commands = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty());
        // What a name begins two columns in; the rest of a long description stands further in.
        let names = commands
            .filter_map(|line| line.strip_prefix("  "))
            .filter(|line| !line.starts_with(' '));
        let names = names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help");
        open.extend(names.map(|name| path.iter().cloned().chain([name.to_owned()]).collect()));
        seen += 1;
    }
    assert!(seen > 30, "{seen} commands");
}

#[test]
fn help_and_version_are_answers() {
    let settings = Settings::empty().set("MQTT_PORT", "nonsense");
    for line in [&["--help"][..], &["help", "run"], &["explain", "--help"]] {
        let (code, out, _) = ended(&settings, line);
        assert!(code == 0 && out.contains("Usage"), "{line:?}: {out}");
    }
    let (code, out, _) = ended(&settings, &["--version"]);
    // The commit and the date of the build may follow.
    assert_eq!(code, 0);
    assert!(out.starts_with(concat!("sluice ", env!("CARGO_PKG_VERSION"))), "{out}");
}
