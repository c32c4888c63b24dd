//! Two replicas and one link: the sender is frozen for longer than its lock lives, and killed, while the
//! messages of twenty devices flow. Nothing is missing, and nothing is out of order.

use super::reader::Reader;
use super::sender::{WAITING, link};
use super::sender_faults::DEVICES;
use crate::faults::load::{self, Load};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

/// Messages of each device in each of the three parts.
const EACH: u64 = 30;

const UP: &str = "sluice_link_up{lane=\"0\",link=\"away\"}";
const STANDBY: &str = "sluice_link_state{link=\"away\",state=\"standby\"}";

/// A replica with a local broker of its own: one of them receives all messages, so that their order in the
/// outbox is that of the devices.
fn replica(
    broker: &Mosquitto,
    database: &Database<'_>,
    id: &str,
    cloud: u16,
) -> (Settings, Daemon) {
    let settings = load::settings(broker, database).set("MQTT_CLIENT_ID", id);
    // A backlog remains while the sender changes.
    let file = link("away", cloud, "max_rate = 200");
    let path = settings.dir().write("links.toml", file);
    let settings = settings.set("LINKS_PATH", path.to_str().unwrap());
    let daemon = settings.start();
    daemon.wait_ready();
    (settings, daemon)
}

#[test]
fn a_frozen_and_a_killed_sender_leave_nothing_out_and_nothing_out_of_order() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    let database = Postgres::shared().database();
    let brokers = [(); 2].map(|()| Mosquitto::start(MosquittoOptions::default()));
    let (_first_settings, first) = replica(&brokers[0], &database, "first", cloud.port());
    first.wait_metric(UP, 1.0);
    let (_second_settings, second) = replica(&brokers[1], &database, "second", cloud.port());
    second.wait_metric(STANDBY, 1.0);
    let load = Load::start(&brokers[1], &database, &DEVICES);

    // The sender is frozen in the middle: Postgres ends its connection, and so its lock.
    load.grant(EACH);
    wait::until("messages arrive", || reader.all().len() > 40);
    first.signal("STOP");
    second.wait_metric(UP, 1.0);
    let taken_over = reader.all().len();
    wait::until("the second sends", || reader.all().len() > taken_over + 40);
    assert_ne!(database.value(WAITING), "0", "the first must wake while messages wait");
    // It wakes with messages that it had read, and must send none of them.
    first.signal("CONT");
    first.wait_metric(STANDBY, 1.0);

    // The second is killed: it is also the one that receives.
    load.grant(EACH);
    let sent = reader.all().len();
    wait::until("messages arrive", || reader.all().len() > sent + 40);
    second.kill9();
    first.wait_metric(UP, 1.0);
    second.start_again();

    // The first is killed, too.
    load.grant(EACH);
    let sent = reader.all().len();
    wait::until("messages arrive", || reader.all().len() > sent + 40);
    first.kill9();
    second.wait_metric(UP, 1.0);
    load.finish();
    let all = 3 * EACH * DEVICES.len() as u64;
    wait::until("everything is stored", || load::rows(&database) >= Some(all));
    database.wait_until(WAITING, "0");
    reader.assert_complete_and_in_order(&DEVICES, 3 * EACH);
    assert_eq!(database.value("SELECT count(*) FROM link_refused"), "0");
}
