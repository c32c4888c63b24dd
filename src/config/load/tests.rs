//! The settings as a whole: layers, errors, secrets, the template; and what the tests of the other
//! files share.

use crate::domain::rate_limit::RateLimit;
use std::path::PathBuf;

use crate::config::sections::certificates::CnFormat;
use crate::config::sections::process::LogFormat;
use crate::config::*;

pub(in crate::config) fn environment(pairs: &[(&str, &str)]) -> Sources {
    let environment =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

fn flags(mut sources: Sources, pairs: &[(&str, &str)]) -> Sources {
    sources.flags =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    sources
}

/// A settings file in a directory that exists as long as the guard.
pub(super) fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let (directory, path) = file(text);
    (directory, Sources { config_file: Some(path), ..Sources::default() })
}

fn errors(sources: &Sources) -> Vec<String> {
    Config::load(sources).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The only error.
pub(in crate::config) fn error(sources: &Sources) -> String {
    let errors = errors(sources);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].clone()
}

fn source(loaded: &Loaded, name: &str) -> String {
    loaded.effective.iter().find(|row| row.name == name).unwrap().source.clone()
}

#[test]
fn with_nothing_set_everything_stands_at_its_default() {
    let Loaded { config, effective } = Config::load(&Sources::default()).unwrap();
    assert_eq!((config.broker.host.as_str(), config.broker.port), ("localhost", 1883));
    assert_eq!(config.broker.topic, "tenant/+/device/+/#");
    assert_eq!(
        (config.broker.receive_maximum, config.broker.max_packet_bytes),
        (16_000, 16 * 1024 * 1024)
    );
    assert_eq!(config.broker.session_expiry_seconds, 604_800);
    assert!(
        config.broker.tls.is_none()
            && config.broker.username.is_none()
            && config.database.url.is_none()
    );
    assert!(config.database.migrate_on_start);
    assert_eq!(config.database.telemetry_retention_days, Some(30));
    assert_eq!((config.ingest.cert_auth_enabled, config.ingest.require_token), (false, true));
    assert_eq!(config.ingest.rate_limit, None);
    assert_eq!(config.ingest.flush_interval.as_millis(), 5);
    assert_eq!(config.certificates.cn_format, CnFormat::Strict);
    assert_eq!(config.http.ops_bind, "127.0.0.1:9464".parse().unwrap());
    assert_eq!(
        (config.process.log_level.as_str(), config.process.log_format),
        ("info", LogFormat::Text)
    );
    assert!(effective.iter().all(|row| row.source == "default"));
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file_which_wins_over_defaults() {
    let (_directory, path) =
        file("[broker]\nmqtt_port = 1\nmqtt_host = \"of-file\"\nmqtt_client_id = \"of-file\"\n");
    let mut sources = environment(&[
        ("MQTT_PORT", "2"),
        ("MQTT_HOST", "of-env"),
        ("SLUICE_CONFIG", path.to_str().unwrap()),
    ]);
    sources = flags(sources, &[("MQTT_PORT", "4"), ("MQTT_PORT", "3")]);
    let loaded = Config::load(&sources).unwrap();
    assert_eq!(loaded.config.broker.port, 3);
    assert_eq!(loaded.config.broker.host, "of-env");
    assert_eq!(loaded.config.broker.client_id, "of-file");
    assert_eq!(source(&loaded, "MQTT_PORT"), "--set");
    assert_eq!(source(&loaded, "MQTT_HOST"), "environment");
    assert_eq!(source(&loaded, "MQTT_CLIENT_ID"), path.display().to_string());
    assert_eq!(source(&loaded, "MQTT_TOPIC"), "default");
}

#[test]
fn an_empty_variable_counts_as_none() {
    let (_directory, mut sources) = with_file("[broker]\nmqtt_host = \"of-file\"\n");
    sources.environment =
        environment(&[("MQTT_HOST", ""), ("MQTT_PORT", ""), ("MQTT_PASSWORD_FILE", "")])
            .environment;
    let loaded = Config::load(&sources).unwrap();
    assert_eq!((loaded.config.broker.host.as_str(), loaded.config.broker.port), ("of-file", 1883));
}

#[test]
fn an_empty_text_unsets_what_may_be_unset_and_nothing_else() {
    let sources = flags(environment(&[("MQTT_SHARE_GROUP", "g")]), &[("MQTT_SHARE_GROUP", "")]);
    assert_eq!(Config::load(&sources).unwrap().config.broker.share_group, None);
    let (_directory, sources) = with_file("[broker]\nmqtt_host = \"\"\n");
    assert!(error(&sources).contains("MQTT_HOST = \"\""));
}

#[test]
fn a_named_file_must_be_there_and_the_systems_may_be_missing() {
    let missing = PathBuf::from("/nonexistent/sluice.toml");
    let system = Sources { system_file: Some(missing.clone()), ..Sources::default() };
    assert!(Config::load(&system).is_ok());
    let flag = Sources { config_file: Some(missing), ..Sources::default() };
    assert!(error(&flag).starts_with(
        "cannot read the settings file \"/nonexistent/sluice.toml\", named by --config: No such file"
    ));
    let variable = environment(&[("SLUICE_CONFIG", "/nonexistent/sluice.toml")]);
    assert!(error(&variable).contains("named by SLUICE_CONFIG"));
}

#[test]
fn all_errors_are_reported_at_once_with_name_value_source_and_what_is_allowed() {
    let (_directory, mut sources) =
        with_file("[broker]\nmqtt_prot = 1\n[ingest]\nmax_metrics = [1]\n[brokers]\nx = 1\n");
    sources.environment = environment(&[
        ("MQTT_PORT", "70000"),
        ("REQUIRE_TOKEN", "yes"),
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("LOG_LEVEL", "inof"),
        ("HTTP_BIND", "localhost"),
        ("CERT_CN_FORMAT", "Strict"),
    ])
    .environment;
    let sources = flags(sources, &[("BATCH_SIZ", "1"), ("ADMIN_TOKEN", "hunter2hunter2")]);
    let path = sources.config_file.clone().unwrap();
    let path = path.display();
    let all = errors(&sources);
    for expected in [
        format!("{path}, [broker] mqtt_prot: unknown setting; did you mean mqtt_port?"),
        format!("{path}, [ingest] max_metrics: expected a whole number of keys from 1 to 10000, as one plain value"),
        format!(
            "{path}, [brokers]: unknown section; the sections are broker, replica, database, ingest, downlink, mqtt_api, links, certificates, access, plugin, http, console, est, public, process"
        ),
        "MQTT_PORT = \"70000\" (environment): expected a whole number from 1 to 65535".to_owned(),
        "REQUIRE_TOKEN = \"yes\" (environment): expected 1, 0, true or false".to_owned(),
        "DATABASE_URL = *** (environment): expected a URL that begins with postgres:// or postgresql://".to_owned(),
        "CERT_CN_FORMAT = \"Strict\" (environment): expected strict or plain".to_owned(),
        "--set BATCH_SIZ: unknown setting; did you mean BATCH_SIZE?".to_owned(),
        "--set ADMIN_TOKEN: a secret must not be an argument, because every user of the machine can read arguments; use \
         ADMIN_TOKEN_FILE"
            .to_owned(),
    ] {
        assert!(all.contains(&expected), "{expected}\nis not in\n{all:#?}");
    }
    assert_eq!(all.len(), 11, "{all:#?}");
    assert!(!all.join("\n").contains("hunter2"));
}

#[test]
fn a_setting_in_the_wrong_section_names_its_own() {
    let (_directory, sources) =
        with_file("mqtt_tls = 1\n[http]\nmqtt_host = \"x\"\nMQTT_PORT = 1\n");
    let all = errors(&sources).join("\n");
    assert!(all.contains("[http] mqtt_host: this setting belongs under [broker]"), "{all}");
    assert!(all.contains("[mqtt_tls]: this setting belongs under [broker]"), "{all}");
    assert!(all.contains("[http] MQTT_PORT: unknown setting"), "{all}");
}

#[test]
fn a_file_that_is_not_toml_names_the_line_and_never_repeats_it() {
    let (_directory, mut sources) =
        with_file("[broker]\nmqtt_port = 1\nmqtt_password = \"hunter2\n");
    sources.environment = environment(&[("MQTT_PORT", "0")]).environment;
    let all = errors(&sources);
    assert_eq!(all.len(), 2, "{all:#?}");
    assert!(all[0].contains("sluice.toml, line 3: not TOML: "), "{all:#?}");
    assert!(!all.join("\n").contains("hunter2"), "{all:#?}");
}

#[test]
fn a_secret_may_come_from_a_file_and_loses_its_line_end() {
    let directory = tempfile::tempdir().unwrap();
    for (content, secret) in [
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        ("hunter2", "hunter2"),
        (" h \n\n", " h \n"),
    ] {
        let path = directory.path().join("password");
        std::fs::write(&path, content).unwrap();
        let sources =
            environment(&[("MQTT_USERNAME", "u"), ("MQTT_PASSWORD_FILE", path.to_str().unwrap())]);
        let loaded = Config::load(&sources).unwrap();
        assert_eq!(loaded.config.broker.password.as_ref().unwrap().expose(), secret);
        let from = format!("file {}, named in environment", path.display());
        assert_eq!(source(&loaded, "MQTT_PASSWORD"), from);
    }
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    assert!(
        error(&environment(&[("ADMIN_TOKEN_FILE", empty.to_str().unwrap())]))
            .ends_with("the file is empty")
    );
    let gone = error(&environment(&[("DATABASE_URL_FILE", "/nonexistent")]));
    assert!(
        gone.starts_with("DATABASE_URL_FILE = \"/nonexistent\" (environment): No such file"),
        "{gone}"
    );
}

#[test]
fn a_secret_and_its_file_at_once_are_an_error_whatever_the_layers() {
    let (_directory, mut sources) = with_file("[http]\nadmin_token_file = \"/run/secrets/t\"\n");
    sources.environment = environment(&[("ADMIN_TOKEN", "hunter2hunter2")]).environment;
    let text = error(&sources);
    assert!(text.starts_with("ADMIN_TOKEN (environment) and ADMIN_TOKEN_FILE (/"), "{text}");
    assert!(
        text.ends_with("are both set: keep one of them") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn secrets_never_show() {
    let (_directory, mut sources) =
        with_file("[database]\ndatabase_url = \"postgres://u:hunter2@h/d\"\n");
    sources.environment = environment(&[
        ("MQTT_USERNAME", "u"),
        ("MQTT_PASSWORD", "hunter2"),
        ("ADMIN_TOKEN", "hunter2hunter2"),
    ])
    .environment;
    let loaded = Config::load(&sources).unwrap();
    assert_eq!(loaded.config.database.url.as_ref().unwrap().expose(), "postgres://u:hunter2@h/d");
    let masked: Vec<_> =
        loaded.effective.iter().filter(|row| row.value.as_deref() == Some("***")).collect();
    assert_eq!(masked.len(), 3);
    let shown = serde_json::to_string(&loaded.effective).unwrap();
    let text = format!("{loaded:?} {sources:?} {shown} {:?}", loaded.config.warnings());
    assert!(!text.contains("hunter2"), "{text}");

    let wrong = [
        ("DATABASE_URL", "hunter2"),
        ("ADMIN_TOKEN", "hunter2 "),
        ("MQTT_HOST", "mqtt://u:hunter2@h"),
    ];
    let failed = Config::load(&environment(&wrong)).unwrap_err();
    assert_eq!(failed.iter().count(), 3);
    assert!(!format!("{failed} {failed:?}").contains("hunter2"), "{failed}");
}

#[test]
fn issuers_come_from_the_environment_and_from_a_list() {
    let (_directory, path) = file(
        "[[issuer]]\nissuer = \"b\"\njwks_url = \"http://id.example.org:80/k\"\naudience = \"m\"\n",
    );
    let pairs = [
        ("JWT_ISSUER", "a"),
        ("JWT_JWKS_URL", "http://[::1]:8080/k"),
        ("JWT_LEEWAY_SECONDS", "5"),
        ("JWT_GROUP_CLAIMS", "g, h"),
        ("JWT_ISSUERS_PATH", path.to_str().unwrap()),
    ];
    let config = Config::load(&environment(&pairs)).unwrap().config;
    let [one, two] = &config.access.issuers[..] else { panic!("{:?}", config.access) };
    assert_eq!((&*one.issuer, &*two.issuer, two.leeway_seconds), ("a", "b", 5));
    assert_eq!(two.group_claims, ["g", "h"]);
}

#[test]
fn a_token_may_be_the_login_in_each_of_its_places() {
    use crate::config::sections::broker::JwtPlace;
    for (pairs, place) in [
        (&[("MQTT_USERNAME", "u")][..], JwtPlace::Password),
        (&[("MQTT_JWT_AS", "username"), ("MQTT_PASSWORD", "p")], JwtPlace::Username),
        (&[("MQTT_JWT_AS", "enhanced")], JwtPlace::Enhanced),
    ] {
        let all =
            [pairs, &[("MQTT_JWT_KEY", "/k"), ("MQTT_JWT_CLAIMS", r#"{"iss": "i"}"#)]].concat();
        let jwt = Config::load(&environment(&all)).unwrap().config.broker.jwt.unwrap();
        assert_eq!(
            (jwt.place, jwt.claims["iss"].as_str(), jwt.lifetime.as_secs()),
            (place, Some("i"), 3600)
        );
    }
    for claims in ["[]", "{", r#"{"exp": 1}"#] {
        let text = error(&environment(&[
            ("MQTT_JWT_KEY", "/k"),
            ("MQTT_USERNAME", "u"),
            ("MQTT_JWT_CLAIMS", claims),
        ]));
        assert!(text.contains("expected a JSON object of at most 16 KiB without exp"), "{text}");
    }
}

#[test]
fn values_reach_the_fields_in_their_units() {
    let config = Config::load(&environment(&[
        ("MQTT_TLS", "TRUE"),
        ("MQTT_CLIENT_CERT", "/c"),
        ("MQTT_CLIENT_KEY", "/k"),
        ("TELEMETRY_RETENTION_DAYS", "0"),
        ("RATE_LIMIT_RPS", "0.5"),
        ("CERT_CN_FORMAT", "plain"),
        ("LOG_FORMAT", "json"),
        ("SHUTDOWN_TIMEOUT_SECONDS", "7"),
        ("OPS_BIND", "[::1]:0"),
    ]));
    let config = config.unwrap().config;
    assert_eq!(config.broker.tls.unwrap().identity, Some(("/c".into(), "/k".into())));
    assert_eq!(config.database.telemetry_retention_days, None);
    assert_eq!(config.ingest.rate_limit, Some(RateLimit { per_second: 0.5, burst: 50.0 }));
    assert_eq!(config.certificates.cn_format, CnFormat::Plain);
    assert_eq!(
        (config.process.log_format, config.process.shutdown_timeout.as_secs()),
        (LogFormat::Json, 7)
    );
    assert_eq!(config.http.ops_bind, "[::1]:0".parse().unwrap());
}

#[test]
fn the_template_uncommented_is_the_defaults() {
    let uncomment = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned()
    };
    let text: Vec<String> = template().lines().map(uncomment).collect();
    let (_directory, sources) = with_file(&text.join("\n"));
    let path = sources.config_file.clone().unwrap().display().to_string();
    let loaded = Config::load(&sources).unwrap();
    let defaults = Config::load(&Sources::default()).unwrap();
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", defaults.config));
    for row in &loaded.effective {
        assert_eq!(row.source, path, "{} is missing from the template", row.name);
    }
    let (_directory, sources) = with_file(&template());
    assert_eq!(Config::load(&sources).unwrap().effective, defaults.effective);
}
