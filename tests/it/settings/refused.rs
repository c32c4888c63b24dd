//! Settings and schemas the daemon does not start with: it ends with 78 and says all that is wrong,
//! at once.

use std::net::TcpListener;
use std::process::Output;

use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

/// What the command says on its way out, which must be by this code.
fn refused(settings: &Settings, line: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = settings.command(line).output().unwrap();
    let said = [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert_eq!(status.code(), Some(code), "{line:?}: {said}");
    said
}

#[test]
fn all_invalid_settings_are_reported_at_once_with_what_is_allowed() {
    let wrong = [
        ("MQTT_PORT", "70000"),
        ("MQTT_TLS", "maybe"),
        ("MQTT_TOPIC", "tenant/#/device"),
        ("BATCH_SIZE", "0"),
        ("MAX_AGE_DAYS", "a week"),
        ("RATE_LIMIT_RPS", "-1"),
        ("OPS_BIND", "localhost"),
        ("LOG_FORMAT", "xml"),
    ];
    let secrets = [("DATABASE_URL", "mysql://u:Secret-0f-db@h/d"), ("ADMIN_TOKEN", "Secret!")];
    let settings = wrong
        .iter()
        .chain(&secrets)
        .fold(Settings::empty(), |all, (name, value)| all.set(name, value));
    let settings = settings.set("MQTT_PASSWORD", "Secret-0f-mqtt");
    for line in [&["run"][..], &["migrate"], &["config", "check"], &["config", "show"]] {
        let said = refused(&settings, line, 78);
        for (name, value) in wrong {
            let about = said.lines().find(|line| {
                line.contains(&format!("{name} = \"{value}\" (environment): expected "))
            });
            assert!(about.is_some(), "{name} is missing: {said}");
        }
        for (name, _) in secrets {
            assert!(
                said.contains(&format!("{name} = *** (environment): expected ")),
                "{name} is missing: {said}"
            );
        }
        assert!(said.contains("a password needs a user name: set MQTT_USERNAME"), "{said}");
        assert!(!said.contains("Secret"), "{said}");
    }
}

#[test]
fn a_settings_file_is_named_with_the_line_that_is_wrong() {
    let settings = Settings::empty();
    let file =
        settings.dir().write("other.toml", "[broker]\nmqtt_prot = 1883\n[nonsense]\nx = 1\n");
    let file = file.to_str().unwrap();
    let said = refused(&settings, &["config", "check", "--config", file], 78);
    assert!(
        said.contains(file) && said.contains("mqtt_prot") && said.contains("mqtt_port"),
        "{said}"
    );
    assert!(said.contains("nonsense"), "{said}");
    let missing = refused(&settings, &["run", "--config", "/nonexistent/sluice.toml"], 78);
    assert!(
        missing.contains("/nonexistent/sluice.toml") && missing.contains("--config"),
        "{missing}"
    );
    let secret = refused(&settings, &["run", "--set", "ADMIN_TOKEN=Secret-0f-admin"], 78);
    assert!(secret.contains("ADMIN_TOKEN_FILE") && !secret.contains("Secret-0f-admin"), "{secret}");
}

#[test]
fn an_address_somebody_else_listens_on_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(&Settings::empty().set("OPS_BIND", &address), &["run"], 78);
    assert!(said.contains(&address) && said.contains("set OPS_BIND to another"), "{said}");
}

#[test]
fn a_schema_newer_than_the_daemon_is_left_alone() {
    let database = Postgres::shared().database();
    let broker = Mosquitto::start(MosquittoOptions::default());
    database.query(
        "INSERT INTO _sqlx_migrations VALUES (9999, 'from the future', now(), true, 'x', 1)",
    );
    let settings = Settings::new(&broker, &database);
    for settings in [settings.clone(), settings.set("MIGRATE_ON_START", "0")] {
        for line in ["run", "migrate"] {
            let said = refused(&settings, &[line], 78);
            assert!(
                said.contains("9999") && said.contains("run a newer version"),
                "{line}: {said}"
            );
        }
    }
}

#[test]
fn a_schema_that_is_not_there_is_not_made_unasked() {
    let database = Postgres::shared().empty_database();
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = Settings::new(&broker, &database).set("MIGRATE_ON_START", "0");
    let said = refused(&settings, &["run"], 78);
    assert!(said.contains("sluice migrate") && said.contains("MIGRATE_ON_START=1"), "{said}");
    assert_eq!(database.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
}
