//! `sluice doctor` before a healthy trio and before each illness it knows; and what `sluice
//! explain` learns from the daemon.

use serde_json::Value;

use crate::support::daemon::Settings;
use crate::support::database::{Database, query_at};
use crate::support::device::Device;
use crate::support::mosquitto::{self, Mosquitto, MosquittoOptions};
use crate::support::port;
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::wait;

/// Runs it; the exit code and its report.
fn doctor(settings: &Settings) -> (i32, Value) {
    let output = settings.command(&["doctor", "--output", "json"]).output().unwrap();
    assert!(!format!("{output:?}").contains(PASSWORD), "{output:?}");
    (
        output.status.code().unwrap(),
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")),
    )
}

/// The finding of this check and level that has these words, advice included.
fn found<'a>(report: &'a Value, check: &str, level: &str, words: &[&str]) -> &'a Value {
    let matches = |row: &&Value| {
        let text = format!("{} {}", row["finding"], row["advice"]);
        row["check"] == check
            && row["level"] == level
            && words.iter().all(|word| text.contains(word))
    };
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(matches)
        .unwrap_or_else(|| panic!("{words:?} in {report:#}"))
}

fn broker_with(acl: &str) -> Mosquitto {
    Mosquitto::start(MosquittoOptions { acl: Some(acl.to_owned()), ..MosquittoOptions::default() })
}

/// The shared server and this broker.
fn settings(broker: &Mosquitto, database: &Database<'_>) -> Settings {
    Settings::new(broker, database)
}

#[test]
fn a_healthy_trio_with_its_daemon_is_found_healthy_and_left_as_it_was() {
    let (server, broker) = (Postgres::private(), Mosquitto::start(MosquittoOptions::default()));
    let database = server.database();
    let settings = settings(&broker, &database);
    let daemon = settings.start();
    daemon.wait_ready();
    let (code, report) = doctor(&settings);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report:#}");
    // Mosquitto 2.1 needs rows for each device, and with these settings no process writes them.
    let warnings = u32::from(mosquitto::version() >= (2, 1));
    assert_eq!(
        (&report["errors"], &report["warnings"]),
        (&0.into(), &warnings.into()),
        "{report:#}"
    );
    found(
        &report,
        "broker access rules",
        ["ok", "warning"][warnings as usize],
        &["ACL_OUTPUT_PATH is not set"],
    );
    found(&report, "daemon", "ok", &["is ready"]);
    found(&report, "broker window", "ok", &["at least 2000"]);
    found(&report, "broker delivery", "ok", &["came back"]);
    found(&report, "Postgres clock", "ok", &["s "]);
    // The daemon was neither disturbed nor fed.
    assert!(daemon.metric("sluice_mqtt_reconnects_total") < 1.0);
    daemon.wait_metric("sluice_messages_total{result=\"ignored\"}", 1.0);
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "0");
    assert_eq!(database.value("SELECT count(*) FROM quarantine_events"), "0");
    assert!(!broker.log().contains("already connected"), "a client id was used twice");

    let table = settings.run(&["doctor"]);
    let sum = format!("0 error(s), {warnings} warning(s)");
    assert!(table.contains("what to do") && table.contains(&sum), "{table}");
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}: {table}");
}

#[test]
fn a_replica_of_a_group_keeps_every_message_while_the_doctor_looks() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let settings = settings(&broker, &database).set("MQTT_SHARE_GROUP", "g");
    let daemon = settings.start();
    daemon.wait_ready();
    let mut device = Device::connect(broker.port(), "device");
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| doctor(&settings));
        let mut published = 0.0;
        while !looking.is_finished() {
            device.publish("tenant/acme/device/nobody/telemetry", "{}");
            published += 1.0;
        }
        let (code, report) = looking.join().unwrap();
        assert_eq!(code, 0, "{report:#}");
        daemon.wait_metric("sluice_messages_total{result=\"quarantined\"}", published);
    });
}

#[test]
fn with_both_servers_away_each_is_one_error_and_the_rest_says_why() {
    let settings =
        Settings::empty().set("MQTT_HOST", "127.0.0.1").set("MQTT_PORT", &port::free().to_string());
    let url = format!("postgres://sluice:{PASSWORD}@127.0.0.1:{}/sluice", port::free());
    let (code, report) = doctor(&settings.set("DATABASE_URL", &url));
    assert_eq!((code, &report["errors"]), (1, &2.into()), "{report:#}");
    found(&report, "broker", "error", &["no connection to the broker", "MQTT_HOST"]);
    found(&report, "broker window", "warning", &["not checked", "the broker"]);
    found(&report, "Postgres", "error", &["cannot connect to Postgres"]);
    found(&report, "schema", "warning", &["not checked", "Postgres"]);
    found(&report, "daemon", "warning", &["no daemon answers", "sluice run"]);
}

#[test]
fn wrong_passwords_are_said_of_broker_and_postgres() {
    let broker = Mosquitto::start(MosquittoOptions::default().user("sluice", "right"));
    let database = Postgres::shared().database();
    let settings =
        settings(&broker, &database).set("MQTT_USERNAME", "sluice").set("MQTT_PASSWORD", "wrong");
    let settings = settings.set("DATABASE_URL", &database.url().replace(PASSWORD, "wrong"));
    let daemon = settings.start();
    daemon.wait_unready();
    let (code, report) = doctor(&settings);
    assert_eq!(code, 1);
    found(&report, "daemon", "error", &["is not ready", "starting"]);
    found(&report, "broker", "error", &["MQTT_PASSWORD"]);
    found(&report, "Postgres", "error", &["28P01", "DATABASE_URL"]);
}

#[test]
fn an_access_rule_that_withholds_messages_is_an_error() {
    let database = Postgres::shared().database();
    let broker = broker_with("topic write #\ntopic read sluice/doctor/#\ntopic read $SYS/#\n");
    let (code, report) = doctor(&settings(&broker, &database));
    assert_eq!(code, 1, "{report:#}");
    found(&report, "broker subscription", "ok", &["is granted"]);
    found(&report, "broker delivery", "error", &["withholds", "topic read tenant/+/device/+/#"]);
    found(&report, "broker window", "ok", &["at least 2000"]);
}

#[test]
fn where_the_user_may_only_read_what_cannot_be_measured_is_said() {
    let database = Postgres::shared().database();
    let broker = broker_with("topic read tenant/#\n");
    let (code, report) = doctor(&settings(&broker, &database));
    assert_eq!(code, 0, "{report:#}");
    found(
        &report,
        "broker window",
        "warning",
        &["not measured", "topic readwrite sluice/doctor/#"],
    );
    found(&report, "broker delivery", "warning", &["not checked"]);
    found(&report, "broker statistics", "warning", &["topic read $SYS/broker/#"]);
}

#[test]
fn the_window_is_shown_as_observed() {
    let database = Postgres::shared().database();
    // What an MQTT 5 client asks for takes the place of max_inflight_messages, upwards and
    // downwards.
    let broker = Mosquitto::start(MosquittoOptions::default().line("max_inflight_messages 20"));
    let wide = settings(&broker, &database);
    let (code, report) = doctor(&wide);
    assert_eq!(code, 0, "{report:#}");
    found(&report, "broker window", "ok", &["at least 2000", "MQTT_RECEIVE_MAXIMUM=16000"]);
    let narrow = wide.set("MQTT_RECEIVE_MAXIMUM", "20").set("BATCH_SIZE", "10");
    found(
        &doctor(&narrow).1,
        "broker window",
        "ok",
        &["20 messages are sent", "two full batches hold 20"],
    );
    found(&doctor(&narrow).1, "broker statistics", "ok", &["dropped no message"]);
}

#[test]
fn a_schema_that_is_behind_ahead_or_edited_is_said() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let empty = Postgres::shared().empty_database();
    let (code, report) = doctor(&settings(&broker, &empty).set("MIGRATE_ON_START", "0"));
    assert_eq!(code, 1);
    found(&report, "schema", "error", &["0001 create registry", "sluice migrate"]);
    found(&report, "partitions", "error", &["telemetry", "sluice migrate"]);

    let database = Postgres::shared().database();
    database.query(
        "DELETE FROM _sqlx_migrations WHERE version = 7;
         UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 3;
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'of tomorrow', true, '\\x00', 0)",
    );
    let (code, report) = doctor(&settings(&broker, &database));
    assert_eq!(code, 1);
    found(&report, "schema", "warning", &["0007", "sluice migrate"]);
    found(&report, "schema", "error", &["[9999]", "newer", "later one"]);
    found(&report, "schema", "error", &["[3]", "differ"]);
}

#[test]
fn missing_partitions_and_a_missing_home_of_late_rows_are_said() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let today = database.value("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
    database.query(&format!("DROP TABLE telemetry_{today}, quarantine_events_late"));
    let (code, report) = doctor(&settings(&broker, &database));
    assert_eq!(code, 1);
    found(
        &report,
        "partitions",
        "error",
        &[&format!("missing partitions: telemetry_{today}"), "sluice migrate"],
    );
    found(&report, "partitions", "error", &["CREATE TABLE quarantine_events_late"]);
    found(
        &report,
        "partitions",
        "ok",
        &["quarantine_events has partitions for today and 3 days ahead"],
    );
}

#[test]
fn the_missing_privileges_of_a_role_are_named() {
    let server = Postgres::private();
    let database = server.database();
    let name = database.name();
    database.query(&format!(
        "CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'; REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest"
    ));
    let broker = Mosquitto::start(MosquittoOptions::default());
    let url = database.url().replace("sluice:", "guest:");
    let (code, report) = doctor(&settings(&broker, &database).set("DATABASE_URL", &url));
    assert_eq!(code, 1);
    found(&report, "Postgres privileges", "error", &["GRANT CREATE ON SCHEMA public TO guest"]);
    found(
        &report,
        "Postgres privileges",
        "error",
        &[&format!("GRANT TEMPORARY ON DATABASE {name} TO guest")],
    );
    found(
        &report,
        "Postgres privileges",
        "error",
        &["does not own", "devices", "telemetry", "OWNER TO guest"],
    );
    found(&report, "Postgres notices", "ok", &["LISTEN"]);
}

#[test]
fn what_a_crash_would_lose_and_a_server_without_room_is_warned_of() {
    let server = Postgres::private_with(&[
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("max_connections", "12"),
    ]);
    let database = server.database();
    let broker = Mosquitto::start(MosquittoOptions::default());
    let (code, report) = doctor(&settings(&broker, &database));
    assert_eq!(code, 0, "{report:#}");
    found(&report, "Postgres safety", "warning", &["fsync is off", "lost", "fsync = on"]);
    found(
        &report,
        "Postgres safety",
        "warning",
        &["synchronous_commit is off", "synchronous_commit = on"],
    );
    found(&report, "Postgres connections", "warning", &["PG_POOL_MAX=8", "max_connections"]);
}

#[test]
fn a_read_only_postgres_takes_no_rows() {
    let database = Postgres::shared().database();
    database.query(&format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    ));
    let broker = Mosquitto::start(MosquittoOptions::default());
    let (code, report) = doctor(&settings(&broker, &database));
    assert_eq!(code, 1);
    found(&report, "Postgres", "error", &["read-only", "default_transaction_read_only off"]);
    found(&report, "schema", "ok", &["are applied"]);
}

#[test]
fn readers_that_see_too_much_or_nothing_are_said() {
    let server = Postgres::private();
    let database = server.database();
    let broker = Mosquitto::start(MosquittoOptions::default());
    let day = database.value(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
         WHERE inhparent = 'telemetry'::regclass AND relname <> 'telemetry_late' LIMIT 1",
    );
    database.query(&format!(
        "ALTER TABLE device_state DISABLE ROW LEVEL SECURITY; REVOKE SELECT ON audit_log FROM sluice_reader;
         GRANT SELECT ON {day}, devices TO sluice_reader; ALTER SCHEMA public OWNER TO postgres; GRANT CREATE ON SCHEMA public TO PUBLIC"
    ));
    let settings = settings(&broker, &database);
    let (code, report) = doctor(&settings);
    assert_eq!(code, 1);
    found(
        &report,
        "readers",
        "error",
        &["device_state", "each tenant sees the rows of all tenants", "sluice_bind_reader"],
    );
    found(&report, "readers", "error", &[&day, "devices.provision_token_hash", "REVOKE"]);
    let advice =
        "GRANT CREATE ON SCHEMA public TO sluice; REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    found(&report, "readers", "error", &["may create functions", advice]);
    database.query(advice);
    // As the keeper makes a day.
    query_at(&database.url(), "CREATE TABLE made (); DROP TABLE made").unwrap();
    let (_, closed) = doctor(&settings);
    assert!(!closed.to_string().contains("may create functions"), "{closed}");
    found(&report, "readers", "warning", &["audit_log", "sluice_bind_reader"]);
    database.query("ALTER ROLE sluice_reader RENAME TO another");
    let (_, report) = doctor(&settings);
    found(&report, "readers", "warning", &["CREATE ROLE sluice_reader NOLOGIN"]);
}

#[test]
fn explain_shows_the_age_of_the_cache_entry_and_where_it_differs() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let settings = settings(&broker, &database);
    settings.run(&["tenant", "add", "acme"]);
    settings.run(&["device", "add", "acme", "pump-1", "--no-token"]);
    let payload = settings.dir().write("payload", "{}");
    let line = [
        "explain",
        "--topic",
        "tenant/acme/device/pump-1/telemetry",
        "--payload",
        payload.to_str().unwrap(),
    ];
    let settings = settings.set("REQUIRE_TOKEN", "0");
    let explained = || -> Value {
        let output =
            settings.command(&[&line[..], &["--output", "json"]].concat()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    assert_eq!(explained()["daemon"]["daemon_answers"], false);

    let daemon = settings.start();
    daemon.wait_ready();
    assert_eq!(explained()["daemon"]["cached"], false);
    assert_eq!(daemon.get("/grants/acme/pump%2B1").unwrap().0, 400);

    // When the daemon begins to listen for changes, it clears its cache.
    daemon.wait_metric("sluice_db_listening", 1.0);
    let mut device = Device::connect(broker.port(), "device");
    wait::for_ok("the daemon holds a grant", || {
        device.publish("tenant/acme/device/pump-1/telemetry", "{}");
        match daemon.get("/grants/acme/pump-1").unwrap() {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let warm = explained();
    assert_eq!(
        (&warm["accepted"], &warm["daemon"]["decides_the_same"]),
        (&true.into(), &true.into()),
        "{warm:#}"
    );
    let (age, left) = (&warm["daemon"]["age_seconds"], &warm["daemon"]["good_for_seconds"]);
    assert!((age.as_f64().unwrap() + left.as_f64().unwrap() - 300.0).abs() < 1.0, "{warm:#}");

    // A change of which no replica is notified.
    database.query(
        "ALTER TABLE devices DISABLE TRIGGER devices_notify_updated; UPDATE devices SET status = 'REVOKED'",
    );
    let stale = explained();
    assert_eq!(
        (&stale["reason"], &stale["daemon"]["decides_the_same"]),
        (&"DEVICE_REVOKED".into(), &false.into())
    );
    assert!(
        stale["daemon"]["says"].as_str().unwrap().contains("DIFFERENTLY: accepted"),
        "{stale:#}"
    );
    let shown = settings.command(&line).output().unwrap();
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("s ago and caches the answer for"),
        "{shown:?}"
    );
}
