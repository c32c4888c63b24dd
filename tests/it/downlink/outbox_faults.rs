//! The publisher while its neighbours are killed and frozen.

use std::collections::HashSet;

use super::receiver::{Answering, Receiver};
use super::{REGISTRY, daemon, queue};
use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

const COMMANDS: u32 = 120;

/// The publishers, by the lock; the number is the lock's.
const PUBLISHERS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 1667563532 \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

#[test]
fn every_command_ends_although_each_server_is_killed_meanwhile() {
    let postgres = Postgres::private();
    let database = postgres.database();
    database.query(REGISTRY);
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = Settings::new(&broker, &database)
        .set("REQUIRE_TOKEN", "0")
        .set("COMMAND_WINDOW", "1")
        .set("COMMAND_RESEND_SECONDS", "5")
        .set("COMMAND_ATTEMPTS", "50");
    let sluice = settings.start();
    sluice.wait_ready();
    let topic = "tenant/acme/device/p1/commands";
    let receiver = Receiver::lasting(broker.port(), "p1", &[topic]);
    let _answering = Answering::start(broker.port(), &receiver, "acme/device/p1");
    queue(&database, "p1", 1..=COMMANDS);
    for round in 0..3 {
        receiver.wait_for(10 + round * 30);
        sluice.kill9();
        sluice.start_again();
        receiver.wait_for(25 + round * 30);
        postgres.kill9();
        postgres.start();
    }
    broker.kill9();
    broker.start_again();
    let open = "SELECT count(*) FROM device_commands WHERE status <> 'ACKNOWLEDGED'";
    wait::until("every command is acknowledged", || {
        database.try_query(open).is_ok_and(|rows| rows[0][0] == "0")
    });
    let mut seen = HashSet::new();
    let firsts: Vec<String> = receiver
        .all()
        .into_iter()
        .filter(|arrival| seen.insert(arrival.id().to_owned()))
        .map(|arrival| arrival.payload["command_type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(firsts, (1..=COMMANDS).map(|number| format!("c{number}")).collect::<Vec<_>>());
}

#[test]
fn one_replica_publishes_and_the_next_takes_over_from_a_killed_and_from_a_frozen_one() {
    let it = daemon(&[("MQTT_CLIENT_ID", "one"), ("MQTT_SHARE_GROUP", "group")]).start_ready();
    let settings = Settings::new(&it.broker, &it.database)
        .set("REQUIRE_TOKEN", "0")
        .set("MQTT_CLIENT_ID", "two")
        .set("MQTT_SHARE_GROUP", "group");
    let second = settings.start();
    second.wait_ready();
    let receiver = Receiver::clean(it.broker.port(), &["tenant/acme/device/p1/commands"]);
    let publisher = "sluice_outbox_publisher";
    assert!(it.daemon.metric(publisher) > 0.0 && second.metric(publisher) < 1.0);
    it.daemon.kill9();
    queue(&it.database, "p1", 1..=1);
    receiver.wait_for(1);
    assert!(second.metric(publisher) > 0.0);
    it.daemon.start_again();
    it.daemon.wait_ready();
    second.signal("STOP");
    queue(&it.database, "p1", 2..=2);
    receiver.wait_for(2);
    assert!(it.daemon.metric(publisher) > 0.0);
    second.signal("CONT");
    wait::until("the frozen one has noticed", || second.metric(publisher) < 1.0);
    queue(&it.database, "p1", 3..=3);
    receiver.wait_for(3);
    assert_eq!(it.database.value(PUBLISHERS), "1");
    let ids: HashSet<String> = receiver.all().iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(ids.len(), 3);
}
