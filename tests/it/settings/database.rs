//! A Postgres that is away, refuses the login, or lacks the database.

use super::wait_for_words;
use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::{PASSWORD, Postgres, ROLE};

#[test]
fn a_postgres_that_is_away_at_start_is_named_and_migrated_when_it_comes() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let server = Postgres::private();
    let database = server.empty_database();
    server.stop();
    let daemon = Settings::new(&broker, &database).start();
    let address = format!("127.0.0.1:{}", server.port());
    let said = wait_for_words(&daemon, &["cannot connect to Postgres", &address, "DATABASE_URL"]);
    assert!(!said.contains(PASSWORD));
    server.start();
    daemon.wait_ready();
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "0");
    assert!(!daemon.log().contains(PASSWORD));
}

#[test]
fn a_login_postgres_refuses_is_named_and_taken_once_it_is_right() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let server = Postgres::private();
    let database = server.empty_database();
    database.query(&format!("ALTER ROLE {ROLE} PASSWORD 'another-one'"));
    let daemon = Settings::new(&broker, &database).start();
    let said =
        wait_for_words(&daemon, &["password authentication failed", "DATABASE_URL", "pg_hba.conf"]);
    assert!(!said.contains(PASSWORD));
    database.query(&format!("ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'"));
    daemon.wait_ready();
    assert!(!daemon.log().contains(PASSWORD));
}

#[test]
fn a_database_that_is_not_there_is_named_and_taken_once_it_is() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().empty_database();
    let url = database.url().replace(database.name(), "made_later");
    let daemon = Settings::new(&broker, &database).set("DATABASE_URL", &url).start();
    wait_for_words(&daemon, &["made_later", "does not exist", "DATABASE_URL"]);
    database.query(&format!("CREATE DATABASE made_later OWNER {ROLE}"));
    daemon.wait_ready();
    daemon.terminate();
    database.query("DROP DATABASE made_later WITH (FORCE)");
}

#[test]
fn a_schema_broken_while_the_daemon_idles_is_named_until_it_is_repaired() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().empty_database();
    let daemon = Settings::new(&broker, &database).start();
    daemon.wait_ready();
    // Who makes partitions has done so, and will not stumble over the missing table.
    daemon.wait_metric("sluice_partitions_ahead", 1.0);
    for (wrong, right, words) in [
        (
            "ALTER TABLE telemetry RENAME TO gone",
            "ALTER TABLE gone RENAME TO telemetry",
            &["schema", "telemetry"],
        ),
        (
            "INSERT INTO _sqlx_migrations VALUES (99, 'from the future', now(), true, 'x', 1)",
            "DELETE FROM _sqlx_migrations WHERE version = 99",
            &["migration 99", "run a newer version"],
        ),
    ] {
        database.query(wrong);
        wait_for_words(&daemon, words);
        database.query(right);
        daemon.wait_ready();
    }
}
