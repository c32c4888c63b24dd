//! The commands beside the daemon, as a person types them: what they print, what they change, and how they end.

mod explain;
mod settings;

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
        (&["explain", "--topic", "t", "--payload", "/nonexistent"], "cannot read the payload from /nonexistent"),
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
fn help_and_version_are_answers() {
    let settings = Settings::empty().set("MQTT_PORT", "nonsense");
    for line in [&["--help"][..], &["help", "run"], &["explain", "--help"]] {
        let (code, out, _) = ended(&settings, line);
        assert!(code == 0 && out.contains("Usage"), "{line:?}: {out}");
    }
    let (code, out, _) = ended(&settings, &["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("sluice ", env!("CARGO_PKG_VERSION"))));
}
