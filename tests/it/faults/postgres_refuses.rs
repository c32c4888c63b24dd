//! Postgres is there and takes no rows, for a reason that is not the rows' fault.

use super::load::{Load, assert_each_once, counted, settings, settle, wait_rows};
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

#[test]
fn a_full_disk_quarantines_nothing_and_is_waited_out() {
    // The database's own words for it, from a trigger: no test may fill the disk of the machine it
    // runs on.
    let spoil = "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
        CREATE TRIGGER disk_is_full BEFORE INSERT ON telemetry FOR EACH ROW EXECUTE FUNCTION disk_is_full()";
    refusal(spoil, "DROP TRIGGER disk_is_full ON telemetry", "the disk of Postgres is full");
}

#[test]
fn a_read_only_postgres_quarantines_nothing_and_is_waited_out() {
    let set = |value: &str| {
        format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {value}', \
             current_database()); END $$; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'sluice'"
        )
    };
    let heal = format!("BEGIN READ WRITE; {}; COMMIT", set("off"));
    refusal(&set("on"), &heal, "this Postgres is read-only");
}

#[test]
fn a_lost_privilege_quarantines_nothing_and_is_waited_out() {
    let spoil = "ALTER TABLE telemetry OWNER TO postgres; REVOKE ALL ON telemetry FROM sluice";
    refusal(spoil, "ALTER TABLE telemetry OWNER TO sluice", "permission denied");
}

/// Postgres stops taking rows under load and takes them again.
fn refusal(spoil: &str, heal: &str, said: &str) {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database: Database<'_> = Postgres::shared().database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1", "plain-1", "timed-2"]);
    let published = load.grant(100);
    wait_rows(&database, 3 * published);
    database.query(spoil);
    let published = load.grant(300);
    load.wait_accepted(published);
    // It fails a few times.
    daemon.wait_metric("sluice_db_retries_total", 4.0);
    let reason = daemon.wait_unready();
    assert!(reason.contains(said), "{reason}");
    database.query(heal);
    daemon.wait_ready();
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    assert_eq!(database.value("SELECT count(*) FROM quarantine_events"), "0");
    assert_eq!(counted(&daemon, "sluice_messages_total{result=\"quarantined\"}"), 0);
}
