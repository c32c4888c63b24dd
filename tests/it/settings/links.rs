//! The links file: invalid, it is no reason to guess; changed, it is read again; and each command that
//! checks it says the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::support::daemon::Settings;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const WRONG: &str = "[link.azure]\nkind = 'event-grid'\nhost = 'n.r.eventgrid.azure.net'\nauth = 'jwt'\n\
                     publish = [{ from = '#', to = 'a/+' }]\nmax_rat = 7\n";

/// Each fault of it, with its place.
const FAULTS: [&str; 6] = [
    "link.azure.max_rat: the key is unknown here",
    "link.azure.host: this is the namespace's HTTP host: its MQTT host is \"n.r.ts.eventgrid.azure.net\"",
    "link.azure: key is missing",
    "link.azure: subject is missing",
    "link.azure: client_id is missing",
    "link.azure.publish[0].to: a message has one topic",
];

fn link(name: &str, more: &str) -> String {
    format!(
        "[link.{name}]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = 9\ntransport = 'tcp'\nclient_id = '{name}'\n{more}\n"
    )
}

/// Runs a command; what it says on both streams.
fn said(settings: &Settings, line: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = settings.command(line).output().unwrap();
    let said = [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert_eq!(status.code(), Some(code), "{line:?}: {said}");
    said
}

#[test]
fn every_command_that_reads_an_invalid_links_file_names_all_its_faults() {
    let settings = Settings::empty().set("DATABASE_URL", "postgres:///none");
    let path = settings.dir().write("links.toml", WRONG);
    let path = path.to_str().unwrap().to_owned();
    let settings = settings.set("LINKS_PATH", &path);
    for line in [&["run"][..], &["config", "check"], &["link", "check-file"]] {
        let said = said(&settings, line, 78);
        for fault in FAULTS {
            assert!(said.contains(fault), "{line:?}: {fault}\n{said}");
        }
        assert!(said.contains(&format!("the links file {path} is invalid")), "{line:?}: {said}");
    }
    // Settings are shown whatever the file has.
    assert!(said(&settings, &["config", "show"], 0).contains("LINKS_PATH"));
    let missing = settings.dir().path().join("none.toml");
    let text = said(&settings, &["link", "check-file", missing.to_str().unwrap()], 78);
    assert!(text.contains("reading the links file") && text.contains("none.toml"), "{text}");
    let unset = said(&Settings::empty(), &["link", "check-file"], 78);
    assert!(unset.contains("LINKS_PATH is not set"), "{unset}");
}

#[test]
fn the_files_that_links_name_are_checked_without_the_daemon() {
    let settings = Settings::empty();
    let key = settings.dir().path().join("azure.key");
    let text = format!(
        "[link.azure]\nkind = 'event-grid'\nhost = 'mqtt.example.org'\nclient_id = 'c'\nauth = 'jwt'\n\
         key = {key:?}\nsubject = 's'\nissuer = 'i'\npublish = [{{ from = '#', to = 'a' }}]\n"
    );
    let path = settings.dir().write("links.toml", text);
    let settings = settings.set("LINKS_PATH", path.to_str().unwrap());
    for line in [&["config", "check"][..], &["link", "check-file"]] {
        let said = said(&settings, line, 78);
        assert!(
            said.contains("link.azure.key: ") && said.contains("cannot read the file"),
            "{said}"
        );
    }
    fs::write(&key, "secret").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = said(&settings, &["link", "check-file"], 78);
    assert!(open.contains("(mode 0644): run chmod 0600"), "{open}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let valid = said(&settings, &["link", "check-file"], 0);
    assert!(valid.contains("warning: link.azure.host: \"mqtt.example.org\" is no host"), "{valid}");
    assert!(valid.ends_with("The links file is valid: azure.\n"), "{valid}");
    let valid = said(&settings, &["config", "check"], 0);
    assert!(
        valid.contains("link.azure.host") && valid.contains("The settings are valid"),
        "{valid}"
    );
    let json = said(&settings, &["link", "check-file", "--output", "json"], 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["ok"], &json["links"][0]), (&true.into(), &"azure".into()));
}

#[test]
fn a_first_link_needs_no_restart_and_its_partitions_are_indexed_at_once() {
    let test = TestDaemon::builder()
        .broker()
        .database()
        .file("LINKS_PATH", "links.toml", "")
        .start_ready();
    let indexed = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
        WHERE i.indrelid = 'telemetry_late'::regclass AND m.amname = 'brin' AND i.indisvalid";
    wait::until("the first round has ended", || {
        test.daemon.metric("sluice_partitions_ahead") > 0.0
    });
    assert_eq!(test.database.value(indexed), "0", "without links there is no index");
    test.settings.dir().write("links.toml", link("first", ""));
    test.daemon.signal("HUP");
    // The next round would be an hour later.
    test.database.wait_until(indexed, "1");
}

#[test]
fn a_changed_links_file_is_read_again_and_one_with_faults_changes_nothing() {
    let test = TestDaemon::builder()
        .broker()
        .empty_database()
        .file("LINKS_PATH", "links.toml", link("first", ""))
        .start_ready();
    let daemon = &test.daemon;
    let write = |text: &str| drop(test.settings.dir().write("links.toml", text));
    let is_current = || daemon.metric("sluice_links_file_current") > 0.0;
    let has = |link: &str| {
        let metrics = daemon.get("/metrics").unwrap().1;
        metrics.contains(&format!("sluice_link_backlog_messages{{link=\"{link}\"}}"))
    };
    wait::until("the first link has started", || has("first"));
    assert!(is_current() && !has("second"));

    write(&(link("first", "") + &link("second", "")));
    wait::until("the change is noticed", || has("second"));
    assert!(daemon.log().contains("the links file was read again; its links are active"));

    write(&(link("first", "lanes = 99") + &link("third", "")));
    daemon.signal("HUP");
    wait::until("the fault is noticed", || !is_current());
    let faults = "link.first.lanes: expected a whole number";
    wait::until("the log names the fault", || daemon.log().contains(faults));
    assert!(has("first") && has("second") && !has("third"), "the previous links stay");

    write(&link("third", ""));
    daemon.signal("HUP");
    wait::until("the corrected file is active", || is_current() && has("third") && !has("second"));
}
