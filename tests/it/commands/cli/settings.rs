//! `sluice config` and `sluice migrate`.

use serde_json::Value;

use super::ended;
use crate::support::daemon::Settings;
use crate::support::port;
use crate::support::postgres::{PASSWORD, Postgres};

/// The settings that are on or off.
const SWITCHES: [&str; 16] = [
    "MQTT_TLS",
    "MIGRATE_ON_START",
    "CERT_AUTH_ENABLED",
    "REQUIRE_TOKEN",
    "AUTO_PROVISION",
    "KEEP_EXTRA_FIELDS",
    "SHADOW_RETAIN",
    "DEVICE_ERRORS",
    "DEVICE_API",
    "MQTT_API_SECRETS",
    "CERT_RENEW_OVER_MQTT",
    "CERT_RENEW_PROOF",
    "ADOPT_ORPHANS",
    "CONSOLE",
    "CONSOLE_VIEWER_PAYLOADS",
    "CONSOLE_PROXY_LOGIN",
];

#[test]
fn the_template_is_a_valid_file_that_contains_the_defaults() {
    let settings = Settings::empty();
    let template = settings.run(&["config", "template"]);
    let file = settings.dir().write("template.toml", &template);
    let file = file.to_str().unwrap();
    let (code, out, said) = ended(&settings, &["config", "check", "--config", file]);
    assert_eq!((code, said.as_str()), (0, ""), "{out}");
    assert!(out.contains("The settings are valid."), "{out}");
    // With each line that sets something uncommented, nothing changes but the origin.
    let is_setting =
        |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    let whole = template.lines().map(|line| if is_setting(&line) { &line[1..] } else { line });
    let whole = settings.dir().write("whole.toml", whole.collect::<Vec<_>>().join("\n"));
    let (default, set) = (values(&settings, file), values(&settings, whole.to_str().unwrap()));
    assert!(default.len() > 30);
    assert_eq!(default, set);
}

/// The settings in force that have a value; switches in the words of the file.
fn values(settings: &Settings, file: &str) -> Vec<(String, String)> {
    let shown = settings.run(&["config", "show", "--output", "json", "--config", file]);
    let rows: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let switch = |name: &str, value: &str| match value {
        "0" if SWITCHES.contains(&name) => "false".to_owned(),
        "1" if SWITCHES.contains(&name) => "true".to_owned(),
        value => value.to_owned(),
    };
    let pairs = rows.iter().filter_map(|row| row["name"].as_str().zip(row["value"].as_str()));
    // The environment of the tests names these; the file has no say in them.
    let pairs = pairs.filter(|(name, _)| !name.ends_with("_BIND"));
    pairs.map(|(name, value)| (name.to_owned(), switch(name, value))).collect()
}

#[test]
fn the_settings_in_force_are_shown_with_their_origin_and_without_secrets() {
    let settings = Settings::empty()
        .set("DATABASE_URL", "postgres://u:Secret-0f-db@h/d")
        .set("MQTT_PORT", "1999");
    let file = settings.dir().write("some.toml", "[ingest]\nbatch_size = 77\n");
    let password = settings.dir().write("password", "Secret-0f-mqtt\n");
    let settings =
        settings.set("MQTT_PASSWORD_FILE", password.to_str().unwrap()).set("MQTT_USERNAME", "u");
    let line = ["config", "show", "--set", "LOG_LEVEL=debug", "--config", file.to_str().unwrap()];
    let table = settings.run(&line);
    let shown: Value =
        serde_json::from_str(&settings.run(&[&line[..], &["--output", "json"]].concat())).unwrap();
    let row = |name: &str| {
        shown.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
    };
    for (name, value, source) in [
        ("MQTT_PORT", "1999", "environment"),
        ("BATCH_SIZE", "77", file.to_str().unwrap()),
        ("LOG_LEVEL", "debug", "--set"),
        ("MAX_METRICS", "256", "default"),
        ("DATABASE_URL", "***", "environment"),
    ] {
        assert_eq!(
            (&row(name)["value"], &row(name)["source"]),
            (&value.into(), &source.into()),
            "{name}"
        );
        assert!(table.contains(name));
    }
    assert_eq!(row("MQTT_PASSWORD")["value"], "***");
    assert!(row("ADMIN_TOKEN")["value"].is_null());
    assert!(!table.contains("Secret") && !shown.to_string().contains("Secret"));
}

#[test]
fn valid_but_dangerous_settings_get_a_warning() {
    let settings = Settings::empty().set("REQUIRE_TOKEN", "0");
    let (code, out, _) = ended(&settings, &["config", "check"]);
    assert_eq!(code, 0);
    assert!(out.contains("warning: CERT_AUTH_ENABLED=0 and REQUIRE_TOKEN=0"), "{out}");
    let json: Value =
        serde_json::from_str(&settings.run(&["config", "check", "--output", "json"])).unwrap();
    assert_eq!((&json["ok"], json["warnings"].as_array().unwrap().len()), (&true.into(), 1));
}

#[test]
fn migrating_twice_does_it_once_and_makes_the_partitions() {
    let database = Postgres::shared().empty_database();
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let json = |settings: &Settings| -> Value {
        serde_json::from_str(&settings.run(&["migrate", "--output", "json"])).unwrap()
    };
    let first = json(&settings);
    let applied = first["applied"].as_array().unwrap().len();
    assert_eq!(
        database.value("SELECT count(*) FROM _sqlx_migrations WHERE success"),
        applied.to_string()
    );
    assert!(first["partitions_made"].as_array().unwrap().len() >= 8, "{first:#}");
    let schema = "SELECT string_agg(oid::regclass::text, ' ' ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let before = database.value(schema);
    let second = json(&settings);
    assert_eq!(
        (&second["applied"], &second["partitions_made"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    assert_eq!(database.value(schema), before);
    assert!(settings.run(&["migrate"]).contains("up to date"));
}

#[test]
fn a_postgres_that_is_away_ends_a_command_with_69_and_names_the_setting() {
    let url = format!("postgres://sluice:{PASSWORD}@127.0.0.1:{}/sluice", port::free());
    let settings = Settings::empty().set("DATABASE_URL", &url);
    let payload = settings.dir().write("payload", "{}");
    let explain = [
        "explain",
        "--topic",
        "tenant/acme/device/p1/telemetry",
        "--payload",
        payload.to_str().unwrap(),
    ];
    for line in [
        &["migrate"][..],
        &explain,
        &["device", "list"],
        &["tenant", "add", "q"],
        &["quarantine", "list"],
    ] {
        let (code, _, said) = ended(&settings, line);
        assert_eq!(code, 69, "{line:?}: {said}");
        assert!(said.contains("cannot connect to Postgres at 127.0.0.1:"), "{line:?}: {said}");
        assert!(said.contains("DATABASE_URL") && !said.contains(PASSWORD), "{line:?}: {said}");
    }
}

#[test]
fn a_schema_that_is_not_there_or_is_newer_is_refused_by_a_command_with_78() {
    let database = Postgres::shared().empty_database();
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let (code, _, said) = ended(&settings, &["tenant", "add", "q"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("sluice migrate"), "{said}");
    settings.run(&["migrate"]);
    database
        .query("INSERT INTO _sqlx_migrations VALUES (99, 'from the future', now(), true, 'x', 1)");
    for line in [&["tenant", "add", "q"][..], &["quarantine", "list"]] {
        let (code, _, said) = ended(&settings, line);
        assert_eq!(code, 78, "{line:?}: {said}");
        assert!(
            said.contains("migration 99") && said.contains("run a newer version"),
            "{line:?}: {said}"
        );
    }
    assert_eq!(database.value("SELECT count(*) FROM tenants"), "0");
}

#[test]
fn files_that_settings_name_and_that_are_not_there_are_all_told_at_once() {
    let settings = Settings::empty().set("MQTT_TLS", "1").set("MQTT_CA_CERT", "/nope/ca.crt");
    let settings =
        settings.set("ACL_RULES_PATH", "/nope/rules.toml").set("CRL_OUTPUT_PATH", "/nope/crl.pem");
    let (code, _, said) = ended(&settings, &["config", "check"]);
    assert_eq!(code, 78, "{said}");
    for name in
        ["MQTT_CA_CERT = \"/nope/ca.crt\" (environment)", "ACL_RULES_PATH", "CRL_OUTPUT_PATH"]
    {
        assert!(said.contains(name), "{name}: {said}");
    }
    let file = settings.dir().write("there", "");
    let there = file.to_str().unwrap();
    let settings = settings
        .set("MQTT_CA_CERT", there)
        .set("ACL_RULES_PATH", there)
        .set("CRL_OUTPUT_PATH", there);
    assert_eq!(ended(&settings, &["config", "check"]).0, 0);
}
