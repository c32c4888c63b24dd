//! `sluice import go-auth`, as somebody types it who has to leave mosquitto-go-auth.

use std::fs;
use std::process::Output;

use crate::support::daemon::Settings;

const EXAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/compose/mosquitto/go-auth.conf.example");

/// Runs it; the exit code, what it printed, and what it complained of.
fn ended(settings: &Settings, line: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        settings.command(&[&["import", "go-auth"], line].concat()).output().unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    (status.code().unwrap(), out, err)
}

#[test]
fn a_configuration_that_fits_is_carried_over_and_its_policy_decides_as_before() {
    let settings = Settings::empty();
    let dir = settings.dir().path().to_owned();
    let acl =
        settings.dir().write("acl", "user alice\ntopic read plant/#\npattern write up/%u/#\n");
    let conf = settings.dir().write(
        "mosquitto.conf",
        format!(
            "auth_plugin /usr/lib/mosquitto/go-auth.so\nauth_opt_backends files\nauth_opt_cache true\n\
             auth_opt_files_acl_path {}\n",
            acl.display()
        ),
    );
    let (conf, dir_text) = (conf.to_str().unwrap(), dir.to_str().unwrap());
    let (code, out, err) = ended(&settings, &[conf, "--output-dir", dir_text]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("files_acl_path") && out.contains("2 rules"), "{out}");
    let broker = fs::read_to_string(dir.join("mosquitto-sluice.conf")).unwrap();
    assert!(broker.contains("sluice_mosquitto.so"), "{broker}");
    let policy = dir.join("policy.toml");
    for (topic, action, code) in [
        ("plant/1", "read", 0),
        ("plant/1", "publish", 1),
        ("up/alice/x", "publish", 0),
        ("up/bob/x", "publish", 1),
    ] {
        let line = ["access", "check", "--as", "user:alice", "--topic", topic, "--action", action];
        let rules = ["--rules", policy.to_str().unwrap()];
        let status = settings.command(&[&line[..], &rules].concat()).output().unwrap().status;
        assert_eq!(status.code(), Some(code), "{action} {topic}");
    }
    let (code, _, err) = ended(&settings, &[conf, "--output-dir", dir_text]);
    assert_eq!(code, 64, "a file that is there is not replaced");
    assert!(err.contains("policy.toml"), "{err}");
}

#[test]
fn what_would_widen_access_is_refused_and_nothing_is_written() {
    let settings = Settings::empty();
    let dir = settings.dir().path().to_owned();
    let conf = settings.dir().write(
        "mosquitto.conf",
        "auth_plugin go-auth.so\nauth_opt_backends postgres\nauth_opt_pg_password s3cret\n\
         auth_opt_jwt_skip_acl_expiration true\nauth_opt_no_such_option 1\nuse_identity_as_username true\n",
    );
    let (conf, dir_text) = (conf.to_str().unwrap(), dir.to_str().unwrap());
    let (code, out, err) = ended(&settings, &[conf, "--output-dir", dir_text, "--output", "json"]);
    assert_eq!(code, 1);
    let outcomes: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let refused = outcomes.iter().filter(|it| it["result"] == "REFUSED").count();
    assert_eq!(refused, 5, "{out}");
    assert!(!out.contains("s3cret") && !err.contains("s3cret"));
    assert!(err.contains("nothing is written") && !dir.join("policy.toml").exists(), "{err}");
}

#[test]
fn the_shipped_example_is_understood_and_another_file_is_refused() {
    let settings = Settings::empty();
    let example = fs::read_to_string(EXAMPLE).unwrap();
    let without_files: Vec<&str> =
        example.lines().filter(|line| !line.contains("_path ")).collect();
    let without_files = without_files.join(
        "
",
    );
    let conf = settings.dir().write("go-auth.conf", without_files);
    let (code, out, _) = ended(&settings, &[conf.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}");
    let other = settings.dir().write("other.conf", "listener 1883\n");
    let (code, _, err) = ended(&settings, &[other.to_str().unwrap()]);
    assert_eq!(code, 64);
    assert!(err.contains("auth_opt_"), "{err}");
    let (code, _, err) = ended(&settings, &["/no/such/file"]);
    assert_eq!(code, 64);
    assert!(err.contains("/no/such/file"), "{err}");
}
