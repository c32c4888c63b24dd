//! The retention as an operator meets it: a daemon under a wrong clock deletes nothing and says so,
//! and `sluice retention` shows and confirms what is held.

use serde_json::Value;

use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

/// Old enough to go under a clock that is 40 days ahead, and young enough to stay.
const ROWS: &str = "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
    SELECT now() - make_interval(hours => n), now(), 'acme', 'pump', 'telemetry', '{}', gen_random_uuid() FROM generate_series(1, 500) n;
    INSERT INTO quarantine_counters_minute VALUES (now(), 'acme', 'BAD_PAYLOAD', 7)";

const KEPT: &str =
    "SELECT count(*) + (SELECT sum(cnt) FROM quarantine_counters_minute) FROM telemetry";

fn retention(settings: &Settings, arguments: &[&str]) -> (i32, Value) {
    let line = [&["retention", "--output", "json"], arguments].concat();
    let output = settings.command(&line).output().unwrap();
    (
        output.status.code().unwrap(),
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")),
    )
}

fn setup(broker: &Mosquitto) -> (Database<'static>, Settings) {
    let database = Postgres::shared().database();
    database.query(ROWS);
    let settings = Settings::new(broker, &database);
    (database, settings)
}

#[test]
fn a_daemon_whose_clock_is_forty_days_ahead_deletes_nothing_and_says_so() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let (database, settings) = setup(&broker);
    let daemon = settings.clone().with_clock("+40d").start();
    let why = daemon.wait_unready_for("retention");
    assert!(why.contains("rows past their retention are not deleted"), "{why}");
    wait::until("its round is over", || daemon.metric("sluice_retention_held") > 0.5);
    assert_eq!(database.value(KEPT), "507");
    let (code, said) = retention(&settings.clone().with_clock("+40d"), &["--yes"]);
    assert_eq!((code, &said["deleted"]), (1, &false.into()), "{said:#}");
    daemon.kill9();

    let daemon = settings.start();
    daemon.wait_ready();
    assert_eq!(database.value(KEPT), "507");
    let (code, said) = retention(&settings, &[]);
    assert_eq!((code, &said["held"]), (0, &Value::Null), "{said:#}");
}

#[test]
fn a_held_round_is_reported_and_runs_once_it_is_confirmed() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let (database, settings) = setup(&broker);
    database.query("INSERT INTO retention_rounds (day) VALUES (current_date - 40) ON CONFLICT (single) DO UPDATE SET day = excluded.day");
    let settings = settings.set("TELEMETRY_RETENTION_DAYS", "12");
    let daemon = settings.start();
    daemon.wait_unready_for("sluice retention --yes");
    let doctor = settings.command(&["doctor"]).output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("--yes"), "{doctor:?}");
    assert_eq!(database.value(KEPT), "507");
    let (code, said) = retention(&settings, &["--yes"]);
    assert_eq!((code, &said["deleted"]), (0, &true.into()), "{said:#}");
    let left: u32 = database.value(KEPT).parse().unwrap();
    assert!(
        (290..=330).contains(&left),
        "the rows of the last twelve days and a part of one: {left}"
    );
    assert_eq!(database.value("SELECT action FROM audit_log"), "retention.confirm");
    daemon.terminate();
    daemon.start_again();
    daemon.wait_ready();
}
