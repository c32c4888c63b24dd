//! Kill -9 of any party while messages flow: every number arrives, and first appearances ascend.

use super::reader::Reader;
use super::rig::Peer;
use super::sender::{WAITING, link, linked, publish};
use crate::faults::load::{self, Load};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait;

pub const DEVICES: [&str; 20] = [
    "timed-1", "timed-2", "timed-3", "timed-4", "timed-5", "timed-6", "timed-7", "timed-8",
    "timed-9", "timed-10", "timed-11", "timed-12", "timed-13", "timed-14", "timed-15", "timed-16",
    "timed-17", "timed-18", "timed-19", "timed-20",
];

#[test]
fn every_number_arrives_in_order_whatever_is_killed() {
    const EACH: u64 = 20;
    let cloud = Mosquitto::start(MosquittoOptions::default().line("autosave_interval 1"));
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    let relay = Proxy::to(cloud.port());
    let postgres = Postgres::private();
    let database = postgres.database();
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = load::settings(&broker, &database);
    let file = link("away", relay.port(), "lanes = 2");
    let path = settings.dir().write("links.toml", file);
    let daemon = settings.set("LINKS_PATH", path.to_str().unwrap()).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &DEVICES);
    for round in 0..10_u64 {
        let granted = load.grant(EACH);
        let reached = reader.all().len();
        match round % 5 {
            // In the middle of the messages, not after them.
            0 => relay.cut_after(Direction::ToClient, 300),
            1 => {
                wait::until("messages arrive", || reader.all().len() > reached + 20);
                daemon.kill9();
                daemon.start_again();
            }
            2 => relay.cut_after(Direction::ToServer, 4_000),
            3 => {
                wait::until("messages arrive", || reader.all().len() > reached + 20);
                postgres.kill9();
                postgres.start();
            }
            _ => {
                relay.cut();
                relay.hold(Direction::ToClient);
                load.wait_accepted(granted);
                relay.cut();
                relay.release(Direction::ToClient);
            }
        }
    }
    load.finish();
    wait::until("everything is stored", || load::rows(&database) >= Some(10 * EACH * 20));
    database.wait_until(WAITING, "0");
    reader.assert_complete_and_in_order(&DEVICES, 10 * EACH);
    let telemetry = "SELECT count(*) = count(DISTINCT message_id) FROM telemetry";
    assert_eq!(database.value(telemetry), "t");
}

#[test]
fn a_killed_other_broker_gets_again_what_it_did_not_acknowledge() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    let it = linked(&link("away", cloud.port(), ""), &["timed-1"]);
    publish(&it, "timed-1", 0, 100);
    reader.wait(100);
    for round in 1..=3_u64 {
        // It keeps its queues in memory: it is killed when they are empty, and while messages wait here.
        cloud.kill9();
        publish(&it, "timed-1", round * 100, round * 100 + 100);
        cloud.start_again();
        wait::until("the reader is back", || {
            cloud.log().matches("Sending SUBACK to reader").count()
                > usize::try_from(round).unwrap()
        });
        it.database.wait_until(WAITING, "0");
    }
    assert!(
        it.daemon.metric("sluice_link_connects_total{link=\"away\",outcome=\"connected\"}") > 3.0
    );
}

#[test]
fn one_message_that_the_other_broker_does_not_bear_harms_only_itself() {
    let mut cloud = Peer::start("lying_broker.js", &[r#"{"close_on": "\"seq\":7,"}"#]);
    let port = cloud.wait_json(1)[0]["port"].as_u64().unwrap();
    let it = linked(&link("away", u16::try_from(port).unwrap(), ""), &["timed-1", "timed-2"]);
    publish(&it, "timed-1", 0, 20);
    publish(&it, "timed-2", 0, 5);
    it.database.wait_until("SELECT reason FROM link_refused", "CLOSES_CONNECTION");
    it.database.wait_until(WAITING, "0");
    let refused = "SELECT payload::text FROM link_refused";
    assert_eq!(it.database.query(refused).len(), 1);
    let body = it.database.value("SELECT convert_from(payload, 'UTF8') FROM link_refused");
    assert!(body.contains("\"seq\":7,"), "{body}");
}

#[test]
fn a_broker_that_limits_the_rate_gets_fewer_messages_and_loses_none() {
    let mut cloud =
        Peer::start("lying_broker.js", &[r#"{"refuse": {"up/timed-2": 151}, "delay": 5}"#]);
    let port = cloud.wait_json(1)[0]["port"].as_u64().unwrap();
    let more = "max_rate = 200\n";
    let it = linked(&link("away", u16::try_from(port).unwrap(), more), &["timed-1", "timed-2"]);
    publish(&it, "timed-1", 0, 20);
    it.database.wait_until(WAITING, "0");
    publish(&it, "timed-2", 0, 1);
    it.daemon.wait_metric("sluice_link_state{link=\"away\",state=\"throttled\"}", 1.0);
    let detail = "SELECT detail LIKE '%messages a second%' FROM link_status";
    it.database.wait_until(detail, "t");
    assert_eq!(it.database.value(WAITING), "1", "it is kept");
    assert_eq!(it.database.value("SELECT count(*) FROM link_refused"), "0");
}

#[test]
fn the_second_replica_goes_on_in_order_when_the_first_is_killed() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let devices = ["timed-1", "timed-2"];
    let start = |id: &str| {
        let settings = load::settings(&broker, &database)
            .set("MQTT_CLIENT_ID", id)
            .set("MQTT_SHARE_GROUP", "sluice");
        let path = settings.dir().write("links.toml", link("away", cloud.port(), ""));
        let settings = settings.set("LINKS_PATH", path.to_str().unwrap());
        let daemon = settings.start();
        daemon.wait_ready();
        (settings, daemon)
    };
    let (_first_settings, first) = start("first");
    first.wait_metric("sluice_link_up{lane=\"0\",link=\"away\"}", 1.0);
    let (_second_settings, second) = start("second");
    second.wait_metric("sluice_link_state{link=\"away\",state=\"standby\"}", 1.0);
    let load = Load::start(&broker, &database, &devices);
    load.grant(200);
    reader.wait(100);
    first.kill9();
    load.grant(200);
    second.wait_metric("sluice_link_up{lane=\"0\",link=\"away\"}", 1.0);
    first.start_again();
    load.finish();
    wait::until("everything is stored", || load::rows(&database) >= Some(800));
    database.wait_until(WAITING, "0");
    let found = reader.first_appearances();
    for device in devices {
        let mut numbers = found[device].clone();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..400).collect::<Vec<u64>>(), "{device}");
    }
}
