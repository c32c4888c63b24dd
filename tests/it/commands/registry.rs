//! `sluice tenant` and `sluice device`, as a person types them: what they say, what they store, and
//! what they never show.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::database::Database;
use crate::support::port;
use crate::support::postgres::Postgres;

/// The command line against this database; settings come from the environment alone.
pub fn sluice(url: &str, envs: &[(&str, &str)], input: &str, line: &[&str]) -> Output {
    let settings = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command
        .args(line)
        .env_clear()
        .env("SLUICE_CONFIG", settings.path())
        .env("DATABASE_URL", url)
        .env("USER", "alice");
    command
        .envs(envs.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that takes no input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// A command that is done, and what it printed.
pub fn done(database: &Database<'_>, line: &[&str]) -> Value {
    let output = sluice(&database.url(), &[], "", &[line, &["--output", "json"]].concat());
    assert!(output.status.success(), "{line:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A command that ends with this exit code, and what it says.
pub fn refused(database: &Database<'_>, line: &[&str], code: i32) -> String {
    let output = sluice(&database.url(), &[], "", line);
    assert_eq!(output.status.code(), Some(code), "{line:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn sha256(token: &str) -> String {
    Sha256::digest(token).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

const HASH: &str = "SELECT provision_token_hash FROM devices";

#[test]
fn a_device_lives_from_add_to_remove_and_each_step_is_audited() {
    let database = Postgres::shared().database();
    done(&database, &["tenant", "add", "acme", "--name", "Acme Pumps"]);
    let line =
        ["device", "add", "acme", "pump-1", "--site", "north", "--metadata", r#"{"model":"P7"}"#];
    let added = done(&database, &line);
    let token = added["token"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    assert_eq!(database.value(HASH), sha256(token));

    let shown = done(&database, &["device", "show", "acme", "pump-1"]);
    assert_eq!((&shown["site_id"], &shown["has_token"]), (&"north".into(), &true.into()));
    assert_eq!((&shown["metadata"]["model"], &shown["certificates"]), (&"P7".into(), &0.into()));
    for secret in [token, &sha256(token)] {
        assert!(!shown.to_string().contains(secret), "shown once only");
        assert_eq!(
            database.value(&format!(
                "SELECT count(*) FROM audit_log a WHERE a::text LIKE '%{secret}%'"
            )),
            "0"
        );
    }
    assert_eq!(
        done(&database, &["device", "set-status", "acme", "pump-1", "inactive"])["was"],
        "ACTIVE"
    );
    assert_eq!(
        done(&database, &["device", "list", "--status", "INACTIVE"])[0]["device_id"],
        "pump-1"
    );
    let renewed = done(&database, &["device", "set-token", "acme", "pump-1"]);
    assert_ne!(renewed["token"], added["token"]);
    assert_eq!(database.value(HASH), sha256(renewed["token"].as_str().unwrap()));
    assert_eq!(
        done(&database, &["device", "set-token", "acme", "pump-1", "--no-token"])["has_token"],
        false
    );
    assert_eq!(database.value(HASH), "NULL");
    done(&database, &["device", "remove", "acme", "pump-1"]);
    done(&database, &["tenant", "remove", "acme"]);
    let audited = "SELECT actor, action FROM audit_log ORDER BY id";
    let actions =
        ["tenant.add", "device.add", "device.set-status", "device.set-token", "device.set-token"];
    let expected = [&actions[..], &["device.remove", "tenant.remove"]]
        .concat()
        .into_iter()
        .map(|did| ["cli:alice", did]);
    assert_eq!(database.query(audited), expected.collect::<Vec<_>>());
}

#[test]
fn a_removed_device_leaves_no_certificate_that_lets_its_successor_in() {
    let database = Postgres::shared().database();
    done(&database, &["tenant", "add", "acme"]);
    done(&database, &["device", "add", "acme", "pump-1"]);
    database.query(
        "INSERT INTO device_certificates
             (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, not_before, not_after)
         VALUES (gen_random_uuid(), 'acme', 'pump-1', repeat('a', 64), '1', 'acme/device/pump-1', 'ca', now(), now() + '1 day');
         INSERT INTO device_state (tenant_id, device_id, last_seen_at) VALUES ('acme', 'pump-1', now())",
    );
    assert_eq!(done(&database, &["device", "show", "acme", "pump-1"])["certificates_active"], 1);
    assert_eq!(done(&database, &["device", "remove", "acme", "pump-1"])["certificates_revoked"], 1);
    done(&database, &["device", "add", "acme", "pump-1"]);
    let shown = done(&database, &["device", "show", "acme", "pump-1"]);
    assert_eq!((&shown["certificates"], &shown["certificates_active"]), (&1.into(), &0.into()));
    assert_eq!(shown["last_seen_at"], Value::Null);
    let certificate =
        "SELECT status, revoked_reason, revoked_at IS NOT NULL FROM device_certificates";
    assert_eq!(database.query(certificate), [["REVOKED", "cessationOfOperation", "t"]]);
}

#[test]
fn a_token_from_standard_input_is_stored_as_its_hash_and_not_shown() {
    let database = Postgres::shared().database();
    done(&database, &["tenant", "add", "acme"]);
    let line = ["device", "add", "acme", "pump-1", "--token-stdin"];
    let output = sluice(&database.url(), &[], "s3cret-of-pump-1\n", &line);
    assert!(output.status.success(), "{output:?}");
    assert!(!format!("{output:?}").contains("s3cret"), "{output:?}");
    assert_eq!(database.value(HASH), sha256("s3cret-of-pump-1"));
    assert!(
        refused(&database, &["device", "set-token", "acme", "pump-1", "--token-stdin"], 64)
            .contains("one line")
    );
    assert_eq!(database.value(HASH), sha256("s3cret-of-pump-1"));
}

#[test]
fn what_is_not_there_or_cannot_be_is_said_with_what_to_do() {
    let database = Postgres::shared().database();
    assert!(
        refused(&database, &["device", "add", "acme", "pump-1"], 64)
            .contains("sluice tenant add acme")
    );
    done(&database, &["tenant", "add", "acme"]);
    assert!(refused(&database, &["tenant", "add", "acme"], 64).contains("exists already"));
    assert!(refused(&database, &["tenant", "show", "nobody"], 64).contains("sluice tenant list"));
    assert!(
        refused(&database, &["device", "show", "acme", "x"], 64)
            .contains("sluice device list --tenant acme")
    );
    assert!(
        refused(&database, &["device", "remove", "acme", "x"], 64)
            .contains("device x not found in tenant acme")
    );
    assert!(
        refused(&database, &["device", "set-token", "acme", "x"], 64)
            .contains("device x not found in tenant acme")
    );
    done(&database, &["device", "add", "acme", "pump-1"]);
    assert!(
        refused(&database, &["device", "add", "acme", "pump-1"], 64).contains("exists already")
    );
    assert!(
        refused(&database, &["tenant", "remove", "acme"], 64).contains("still has devices (1)")
    );
    assert!(
        refused(&database, &["device", "set-status", "acme", "pump-1", "gone"], 64)
            .contains("REVOKED")
    );
    assert!(refused(&database, &["device", "add", "a+", "x"], 64).contains("A-Z a-z 0-9"));
}

#[test]
fn an_identity_too_long_for_a_certificate_is_refused_only_with_certificates() {
    let database = Postgres::shared().database();
    done(&database, &["tenant", "add", "acme"]);
    let long = "d".repeat(60);
    let line = ["device", "add", "acme", &long];
    let output = sluice(&database.url(), &[("CERT_AUTH_ENABLED", "1")], "", &line);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("72 characters") && said.contains("by 8"), "{said}");
    assert_eq!(database.value("SELECT count(*) FROM devices"), "0");
    done(&database, &line);
}

#[test]
fn devices_are_searched_and_edited_as_over_the_api() {
    let database = Postgres::shared().database();
    done(&database, &["tenant", "add", "acme"]);
    let add = [
        "device",
        "add",
        "acme",
        "pump-1",
        "--site",
        "north",
        "--status",
        "INACTIVE",
        "--metadata",
        r#"{"model":"P7"}"#,
    ];
    done(&database, &add);
    let found = |search: &str| {
        done(&database, &["device", "list", "--search", search, "--sort", "-last_heard"])
    };
    assert_eq!(found("pump-* site:north heard:never")[0]["certificate_id"], Value::Null);
    assert_eq!(found("-status:INACTIVE").as_array().map(Vec::len), Some(0));
    let unknown = sluice(&database.url(), &[], "", &["device", "list", "--search", "colour:red"]);
    assert_eq!(unknown.status.code(), Some(64), "{unknown:?}");
    let why = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(why.contains("unknown key `colour`; the keys are tenant, site"), "{why}");
    let edit =
        ["device", "edit", "acme", "pump-1", "--no-site", "--metadata", r#"{"model":null,"a":1}"#];
    let edited = done(&database, &edit);
    assert_eq!(
        (&edited["site_id"], &edited["metadata"]),
        (&Value::Null, &serde_json::json!({ "a": 1 }))
    );
    let nothing = sluice(&database.url(), &[], "", &["device", "edit", "acme", "pump-1"]);
    assert_eq!(nothing.status.code(), Some(64), "{nothing:?}");
    let audited = "SELECT actor, action FROM audit_log ORDER BY id DESC LIMIT 1";
    assert_eq!(database.query(audited), [["cli:alice", "device.edit"]]);
}

#[test]
fn a_suspended_tenant_and_pages_of_many_are_listed_in_order() {
    let database = Postgres::shared().database();
    for tenant in ["c", "a", "b"] {
        done(&database, &["tenant", "add", tenant]);
        done(&database, &["device", "add", tenant, "x"]);
    }
    done(&database, &["tenant", "set-status", "b", "SUSPENDED"]);
    assert_eq!(done(&database, &["tenant", "show", "b"])["devices_active"], 1);
    let page = done(&database, &["tenant", "list", "--cursor", "a", "--limit", "1"]);
    assert_eq!(
        (&page[0]["tenant_id"], &page[0]["status"], &page[1]),
        (&"b".into(), &"SUSPENDED".into(), &Value::Null)
    );
    let page = done(&database, &["device", "list", "--cursor", "a/x", "--limit", "5"]);
    assert_eq!((&page[0]["tenant_id"], &page[1]["tenant_id"]), (&"b".into(), &"c".into()));
    let output = sluice(&database.url(), &[], "", &["device", "list", "--limit", "2"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--cursor b/x"), "{output:?}");
}

#[test]
fn an_old_spelling_works_with_a_note_and_two_spellings_are_a_usage_error() {
    let database = Postgres::shared().database();
    done(&database, &["tenant", "add", "a"]);
    done(&database, &["tenant", "add", "b"]);
    for (list, cursor) in [("tenant", "a"), ("device", "a/x")] {
        let run = |options: &[&str]| {
            sluice(&database.url(), &[], "", &[&[list, "list"], options].concat())
        };
        let (new, old) = (run(&["--cursor", cursor]), run(&["--after", cursor]));
        assert_eq!(new.stdout, old.stdout);
        assert_eq!(String::from_utf8_lossy(&new.stderr), "");
        let note = String::from_utf8_lossy(&old.stderr);
        assert!(note.contains("--after") && note.contains("use --cursor"), "{note}");
        assert_eq!(note.lines().count(), 1, "{note}");
        let both = run(&["--cursor", cursor, "--after", cursor]);
        let said = String::from_utf8_lossy(&both.stderr);
        assert_eq!(both.status.code(), Some(64), "{both:?}");
        let unreadable =
            sluice("postgres://127.0.0.1:9/x", &[], "", &[list, "list", "--cursor", "?"]);
        assert_eq!(unreadable.status.code(), Some(64), "{unreadable:?}");
        assert!(said.contains("--cursor") && said.contains("--after"), "{said}");
    }
}

#[test]
fn without_postgres_a_command_says_so_and_ends_with_69() {
    let url = format!("postgres://sluice:hunter2@127.0.0.1:{}/sluice", port::free());
    let output = sluice(&url, &[], "", &["tenant", "list"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Postgres") && !said.contains("hunter2"), "{said}");
}
