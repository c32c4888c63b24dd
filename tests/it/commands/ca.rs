//! `sluice ca`, as a person types it: what it makes, what it never writes over, and what it never
//! shows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::registry::sluice;
use crate::support::dir::Scratch;

/// Settings that name the three files in this directory.
fn run(dir: &Path, line: &[&str]) -> Output {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let files = [path("pki/ca.crt"), path("pki/ca.key"), path("pki/crl.pem")];
    let names = ["DEVICE_CA_CERT_PATH", "DEVICE_CA_KEY_PATH", "CRL_OUTPUT_PATH"];
    let envs: Vec<(&str, &str)> = names.into_iter().zip(files.iter().map(String::as_str)).collect();
    // No database is there: the command needs none.
    sluice("postgres://127.0.0.1:1/none", &envs, "", &[line, &["--output", "json"]].concat())
}

fn ended(dir: &Path, line: &[&str], code: i32) -> (Value, String) {
    let output = run(dir, line);
    assert_eq!(output.status.code(), Some(code), "{line:?}: {output:?}");
    assert!(
        !String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat())
            .contains("PRIVATE"),
        "{output:?}"
    );
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (value, String::from_utf8(output.stderr).unwrap())
}

/// What became of each file, in the order of the report.
fn states(report: &Value) -> Vec<&str> {
    report.as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect()
}

fn all(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir.join("pki")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn an_authority_is_made_once_and_kept_ever_after() {
    let dir = Scratch::new("ca");
    let line = ["ca", "init", "--server-name", "localhost", "--server-name", "127.0.0.1"];
    assert_eq!(states(&ended(dir.path(), &line, 0).0), ["made"; 7]);
    let first = all(dir.path());
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ca.crt",
            "ca.key",
            "crl.pem",
            "server-ca.crt",
            "server-ca.key",
            "server.crt",
            "server.key"
        ]
    );
    for name in names {
        let mode =
            fs::metadata(dir.path().join("pki").join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if name.contains("key") { 0o600 } else { 0o644 }, "{name}");
    }
    assert_eq!(states(&ended(dir.path(), &line, 0).0), ["kept"; 5]);
    assert_eq!(all(dir.path()), first);
}

#[test]
fn an_authority_is_shown_with_its_crl_and_never_with_its_private_key() {
    let dir = Scratch::new("ca");
    ended(dir.path(), &["ca", "init", "--name", "Acme devices", "--days", "30"], 0);
    let (shown, _) = ended(dir.path(), &["ca", "show"], 0);
    assert_eq!(
        (shown["subject"].as_str(), shown["key"].as_str()),
        (Some("CN=Acme devices"), Some("good"))
    );
    assert!(shown["crl"].as_str().unwrap().starts_with("good: number 1, 0 revoked"), "{shown}");
    let bundle = run(dir.path(), &["ca", "bundle"]);
    assert_eq!(bundle.stdout, fs::read(dir.path().join("pki/ca.crt")).unwrap());

    let key = dir.path().join("pki/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (shown, _) = ended(dir.path(), &["ca", "show"], 1);
    assert!(shown["key"].as_str().unwrap().contains("chmod 600"), "{shown}");
    assert!(ended(dir.path(), &["ca", "init"], 78).1.contains("chmod 600"));
}

#[test]
fn half_an_authority_is_refused_and_nothing_is_made() {
    let dir = Scratch::new("ca");
    ended(dir.path(), &["ca", "init"], 0);
    for (lost, kept) in [("ca.key", "ca.crt"), ("ca.crt", "ca.key")] {
        let path = dir.path().join("pki").join(lost);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let before = all(dir.path());
        let (_, said) = ended(dir.path(), &["ca", "init"], 64);
        assert!(
            said.contains(lost) && said.contains(kept) && said.contains("restore the missing file"),
            "{said}"
        );
        assert_eq!(all(dir.path()), before);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::remove_file(dir.path().join("pki/ca.crt")).unwrap();
    fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
    let (_, said) = ended(dir.path(), &["ca", "init"], 64);
    assert!(said.contains("crl.pem exists, but its authority does not"), "{said}");
}

#[test]
fn a_lost_list_is_not_replaced_by_an_empty_one_unless_that_is_asked_for() {
    let dir = Scratch::new("ca");
    ended(dir.path(), &["ca", "init"], 0);
    let crl = dir.path().join("pki/crl.pem");
    fs::write(&crl, "damaged").unwrap();
    assert_eq!(states(&ended(dir.path(), &["ca", "init"], 1).0), ["kept", "kept", "bad"]);
    assert_eq!(fs::read(&crl).unwrap(), b"damaged");
    assert!(ended(dir.path(), &["ca", "show"], 1).0["crl"].as_str().unwrap().contains("damaged"));
    fs::remove_file(&crl).unwrap();
    let (report, _) = ended(dir.path(), &["ca", "init"], 1);
    assert_eq!(states(&report), ["kept", "kept", "missing"]);
    assert!(report[2]["note"].as_str().unwrap().contains("admit revoked devices"), "{report}");
    assert!(!crl.exists());
    assert_eq!(
        states(&ended(dir.path(), &["ca", "init", "--empty-crl"], 0).0),
        ["kept", "kept", "made"]
    );
    ended(dir.path(), &["ca", "show"], 0);
}

#[test]
fn the_brokers_certificate_is_renewed_by_the_authority_that_is_there() {
    let dir = Scratch::new("ca");
    let line = ["ca", "init", "--server-name", "localhost"];
    ended(dir.path(), &line, 0);
    let authority = fs::read(dir.path().join("pki/server-ca.crt")).unwrap();
    fs::remove_file(dir.path().join("pki/server.crt")).unwrap();
    assert!(ended(dir.path(), &line, 64).1.contains("server.key"));
    fs::remove_file(dir.path().join("pki/server.key")).unwrap();
    let (report, _) = ended(dir.path(), &line, 0);
    assert_eq!(states(&report), ["kept", "kept", "kept", "kept", "kept", "made", "made"]);
    assert_eq!(fs::read(dir.path().join("pki/server-ca.crt")).unwrap(), authority);
}

#[test]
fn what_is_not_said_or_makes_no_sense_is_a_wrong_command_line() {
    let url = "postgres://127.0.0.1:1/none";
    for (line, word) in [
        (&["ca", "init"][..], "DEVICE_CA_CERT_PATH"),
        (&["ca", "show"], "DEVICE_CA_CERT_PATH"),
        (&["ca", "init", "--cert", "/nonexistent/x"], "DEVICE_CA_KEY_PATH"),
        (&["ca", "init", "--server-name", "a b"], "host name"),
        (&["ca", "init", "--days", "0"], "--days"),
        (&["ca", "init", "--name", ""], "1 to 64"),
        (&["ca", "init", "--server-dir", "x"], "--server-name"),
    ] {
        let output = sluice(url, &[], "", line);
        assert_eq!(output.status.code(), Some(64), "{line:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{line:?}: {output:?}");
    }
}
