//! Two replicas: on one shared subscription, and on one empty database.

use crate::faults::load::{Load, assert_each_once, counted, rows, settings, settle, wait_rows};
use crate::support::daemon::Daemon;
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

const STORED: &str = "sluice_messages_total{result=\"stored\"}";

/// Two replicas that share the messages.
fn pair(broker: &Mosquitto, database: &Database<'_>) -> [Daemon; 2] {
    let settings = |name| {
        settings(broker, database).set("MQTT_CLIENT_ID", name).set("MQTT_SHARE_GROUP", "pair")
    };
    let replicas = ["one", "other"].map(|name| settings(name).start());
    replicas.iter().for_each(Daemon::wait_ready);
    replicas
}

#[test]
fn replicas_of_a_share_group_store_each_message_once_and_both_take_part() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let [one, other] = pair(&broker, &database);
    let load = Load::start(&broker, &database, &["timed-1", "plain-1", "stranger-1"]);
    load.grant(400);
    let accepted = load.finish();
    settle(&broker, &database, &[&one, &other]);
    assert_each_once(&database, &accepted);
    let shares = [&one, &other].map(|replica| counted(replica, STORED));
    assert!(shares.iter().all(|share| *share > 300), "{shares:?}");
    assert_eq!(shares.iter().sum::<u64>(), 802, "and two markers");
}

#[test]
fn a_replica_killed_and_started_again_loses_nothing_of_its_share() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let [one, other] = pair(&broker, &database);
    let load = Load::start(&broker, &database, &["timed-1", "timed-2"]);
    for round in 1..=3 {
        load.grant(200);
        wait_rows(&database, rows(&database).unwrap() + 31 * round);
        one.kill9();
        // The broker continues to deliver to both, also to the one that is away.
        load.wait_accepted(load.grant(100));
        one.start_again();
        one.wait_ready();
    }
    let accepted = load.finish();
    settle(&broker, &database, &[&one, &other]);
    assert_each_once(&database, &accepted);
}

#[test]
fn replicas_started_together_migrate_an_empty_database_once() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().empty_database();
    let [one, other] = pair(&broker, &database);
    assert_eq!(
        database.value("SELECT count(*) > 0 AND bool_and(success) FROM _sqlx_migrations"),
        "t"
    );
    // A query that was planned before a day was attached does not see the rows that move to it.
    database.wait_until(
        "SELECT count(*) > 3 FROM pg_inherits WHERE inhparent = 'telemetry'::regclass",
        "t",
    );
    let load = Load::start(&broker, &database, &["timed-1"]);
    load.grant(100);
    let accepted = load.finish();
    settle(&broker, &database, &[&one, &other]);
    assert_each_once(&database, &accepted);
    assert!([&one, &other].iter().all(|replica| counted(replica, STORED) > 0));
}
