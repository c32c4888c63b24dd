//! A start while Postgres is away: the session subscribes all the same, and what the broker takes
//! over meanwhile is stored when Postgres comes.

use super::load::{Load, assert_each_once, register, settings, settle};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;

const DEVICES: [&str; 2] = ["timed-1", "plain-1"];

fn wait_connected(daemon: &Daemon) {
    crate::support::wait::until("it is subscribed", || {
        daemon.get("/metrics").is_ok() && daemon.metric("sluice_mqtt_connected") > 0.5
    });
}

/// Settings for a database that is reached through this proxy.
fn through(proxy: &Proxy, broker: &Mosquitto, database: &Database<'_>) -> Settings {
    settings(broker, database).set("DATABASE_URL", &database.url_through(proxy.port()))
}

#[test]
fn what_is_published_before_the_very_first_schema_is_stored() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let server = Postgres::shared();
    let (database, proxy) = (server.empty_database(), Proxy::to(server.port()));
    proxy.refuse();
    let daemon = through(&proxy, &broker, &database).start();
    wait_connected(&daemon);
    Settings::empty().set("DATABASE_URL", &database.url()).run(&["migrate"]);
    let load = Load::start(&broker, &database, &DEVICES);
    load.grant(50);
    let accepted = load.finish();
    assert_eq!(
        (accepted.len(), database.value("SELECT count(*) FROM telemetry").as_str()),
        (100, "0")
    );
    proxy.allow();
    daemon.wait_ready();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    database.wait_until("SELECT filters::text FROM broker_sessions", "{tenant/+/device/+/#}");
}

#[test]
fn a_start_given_up_without_postgres_leaves_the_messages_with_the_broker() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let server = Postgres::shared();
    let (database, proxy) = (server.database(), Proxy::to(server.port()));
    proxy.refuse();
    let daemon = through(&proxy, &broker, &database).start();
    wait_connected(&daemon);
    let load = Load::start(&broker, &database, &DEVICES);
    load.grant(50);
    let accepted = load.finish();
    assert_eq!(daemon.terminate(), 0);
    proxy.allow();
    daemon.start_again();
    daemon.wait_ready();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}

#[test]
fn a_former_subscription_is_given_up_when_postgres_says_so_later() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let server = Postgres::shared();
    let (database, proxy) = (server.database(), Proxy::to(server.port()));
    register(&database, &DEVICES);
    let settings = through(&proxy, &broker, &database);
    let daemon = settings.start();
    daemon.wait_ready();
    let filters = "SELECT filters::text FROM broker_sessions";
    database.wait_until(filters, "{tenant/+/device/+/#}");
    assert_eq!(daemon.terminate(), 0);
    proxy.refuse();
    let daemon = settings.set("MQTT_TOPIC", "tenant/acme/device/+/#").start();
    wait_connected(&daemon);
    proxy.allow();
    daemon.wait_ready();
    database.wait_until(filters, "{tenant/acme/device/+/#}");
    // The log is written by a thread of its own, perhaps after the row.
    crate::support::wait::until("the log has the line", || {
        daemon.log().contains("the broker removed the former subscription")
    });
    let load = Load::start(&broker, &database, &DEVICES);
    load.grant(20);
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}
