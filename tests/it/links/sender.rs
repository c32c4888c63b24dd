//! The sender of a link against a real Mosquitto as the other broker: order, refusals, limits, reload
//! and the stop.

use std::fs;

use super::reader::Reader;
use crate::faults::load::{Load, message, register};
use crate::support::database::Database;
use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

pub const WAITING: &str = "SELECT count(*) FROM link_outbox";

/// A links file with one link over TCP, and further lines of it.
pub fn link(name: &str, port: u16, more: &str) -> String {
    format!(
        "[link.{name}]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = {port}\ntransport = \"tcp\"\n\
         client_id = \"gate-{name}\"\nauth = \"none\"\n\
         publish = [{{ from = \"tenant/+/device/+/telemetry\", to = \"up/{{device}}\", mode = \"raw\" }}]\n{more}\n"
    )
}

/// A daemon with this links file, and these devices.
pub fn linked(file: &str, devices: &[&str]) -> TestDaemon<Mosquitto, Database<'static>> {
    let builder = TestDaemon::builder().broker().database().set("REQUIRE_TOKEN", "0");
    let it = builder.file("LINKS_PATH", "links.toml", file).start_ready();
    register(&it.database, devices);
    it
}

/// Publishes the messages `from..until` of a device at the local broker.
pub fn publish(it: &TestDaemon<Mosquitto, Database<'static>>, device: &str, from: u64, until: u64) {
    let messages: Vec<_> = (from..until).map(|number| message(device, number)).collect();
    Device::connect(it.broker.port(), device).publish_all(&messages);
}

#[test]
fn accepted_messages_arrive_in_order_and_leave_the_outbox() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    let devices = ["timed-1", "timed-2", "timed-3"];
    let it = linked(&link("away", cloud.port(), "lanes = 2"), &devices);
    let load = Load::start(&it.broker, &it.database, &devices);
    load.grant(300);
    load.finish();
    reader.wait(900);
    reader.assert_complete_and_in_order(&devices, 300);
    it.database.wait_until(WAITING, "0");
    it.daemon.wait_metric("sluice_link_published_total{link=\"away\"}", 900.0);
    assert!(it.daemon.metric("sluice_link_up{lane=\"1\",link=\"away\"}") > 0.0);
    let states = "SELECT count(*) FROM link_status WHERE link = 'away' AND state = 'up'";
    it.database.wait_until(states, "2");
    // An orderly stop leaves nothing behind, and the other broker gets a DISCONNECT.
    assert_eq!(it.daemon.terminate(), 0);
    wait::until("both lanes said goodbye", || {
        cloud.log().matches("Received DISCONNECT from gate-away-").count() == 2
    });
}

#[test]
fn a_refused_topic_waits_alone_and_its_messages_keep_their_order() {
    let rules = "topic readwrite up/timed-1\ntopic read up/#\n";
    let options = MosquittoOptions { acl: Some(rules.to_owned()), ..MosquittoOptions::default() };
    let cloud = Mosquitto::start(options);
    let reader = Reader::start(cloud.port(), "reader");
    let it = linked(&link("away", cloud.port(), "refuse_after = \"1h\""), &["timed-1", "timed-2"]);
    publish(&it, "timed-2", 0, 30);
    publish(&it, "timed-1", 0, 30);
    reader.wait(30);
    it.database.wait_until(WAITING, "30");
    let detail = "SELECT detail LIKE '%0x87%' FROM link_status WHERE link = 'away'";
    it.database.wait_until(detail, "t");
    publish(&it, "timed-1", 30, 60);
    reader.wait(60);
    assert!(it.database.value("SELECT advice FROM link_status").contains("link.away.publish"));
    // The topic is permitted: what waited arrives, in order.
    fs::write(cloud.dir().path().join("acl"), "topic readwrite #\n").unwrap();
    cloud.signal("HUP");
    reader.wait(90);
    reader.assert_complete_and_in_order(&["timed-1"], 60);
    reader.assert_complete_and_in_order(&["timed-2"], 30);
    it.database.wait_until(WAITING, "0");
}

#[test]
fn messages_of_a_refused_topic_become_dead_letters_after_refuse_after() {
    let rules = "topic readwrite up/timed-1\ntopic read up/#\n";
    let options = MosquittoOptions { acl: Some(rules.to_owned()), ..MosquittoOptions::default() };
    let cloud = Mosquitto::start(options);
    let reader = Reader::start(cloud.port(), "reader");
    let it = linked(&link("away", cloud.port(), "refuse_after = \"2s\""), &["timed-1", "timed-2"]);
    publish(&it, "timed-2", 0, 5);
    publish(&it, "timed-1", 0, 5);
    reader.wait(5);
    let dead = "SELECT count(*) FROM link_refused WHERE reason = 'NOT_AUTHORIZED' AND code = 135";
    it.database.wait_until(dead, "5");
    it.database.wait_until(WAITING, "0");
    let counted = "sluice_link_dead_lettered_total{link=\"away\",reason=\"NOT_AUTHORIZED\"}";
    assert!((it.daemon.metric(counted) - 5.0).abs() < 0.1);
}

#[test]
fn what_breaks_a_limit_is_not_sent_and_the_rate_of_aws_is_kept() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    let port = cloud.port();
    let file = format!(
        "[link.aws]\nkind = \"aws-iot\"\nhost = \"127.0.0.1\"\nport = {port}\ntransport = \"tcp\"\n\
         client_id = \"gate\"\nauth = \"none\"\nmax_packet_bytes = 4096\n\
         publish = [{{ from = \"tenant/+/device/+/#\", to = \"up/1/2/3/4/5/{{device}}/{{type}}\", mode = \"raw\" }}]\n"
    );
    let it = linked(&file, &["timed-1"]);
    let mut device = Device::connect(it.broker.port(), "timed-1");
    let own = "tenant/acme/device/timed-1/telemetry";
    device.publish(&format!("{own}/engine"), r#"{"seq":1,"metrics":{"a":1}}"#);
    let large = format!(r#"{{"seq":2,"metrics":{{"a":"{}"}}}}"#, "x".repeat(5000));
    device.publish(own, large);
    publish(&it, "timed-1", 3, 303);
    let read = reader.wait(300);
    let reasons = "SELECT string_agg(reason, ' ' ORDER BY id) FROM link_refused";
    it.database.wait_until(reasons, "BAD_TOPIC TOO_LARGE");
    let detail = it.database.value("SELECT detail FROM link_refused WHERE reason = 'BAD_TOPIC'");
    assert!(detail.contains("9 levels"), "{detail}");
    for first in &read {
        let within = read.iter().filter(|read| (first.at..first.at + 0.95).contains(&read.at));
        assert!(within.count() <= 100);
    }
    it.database.wait_until(WAITING, "0");
}

#[test]
fn a_changed_links_file_stops_and_starts_what_has_changed_only() {
    let [first, second] = [(); 2].map(|()| Mosquitto::start(MosquittoOptions::default()));
    let [at_first, at_second] =
        [&first, &second].map(|cloud| Reader::start(cloud.port(), "reader"));
    let it = linked(&link("one", first.port(), ""), &["timed-1"]);
    publish(&it, "timed-1", 0, 5);
    at_first.wait(5);
    let path = it.settings.dir().path().join("links.toml");
    let both = link("one", first.port(), "") + &link("two", second.port(), "");
    // The rules of a link change without a new connection, and a second link begins.
    fs::write(&path, both.replace("up/{device}", "on/{device}")).unwrap();
    it.daemon.signal("HUP");
    wait::until("the second link is connected", || {
        second.log().contains("as gate-two")
            && it.daemon.metric("sluice_link_up{lane=\"0\",link=\"two\"}") > 0.0
    });
    publish(&it, "timed-1", 5, 10);
    at_second.wait(5);
    assert!(at_first.wait(10).last().unwrap().topic == "on/timed-1");
    assert_eq!(first.log().matches("as gate-one").count(), 1, "no new connection");
    // A removed link stops; its series go.
    fs::write(&path, link("two", second.port(), "")).unwrap();
    it.daemon.signal("HUP");
    wait::until("the first link has ended", || {
        first.log().contains("Received DISCONNECT from gate-one")
    });
    wait::until("its series are gone", || {
        !it.daemon.get("/metrics").unwrap().1.contains("link=\"one\"")
    });
    publish(&it, "timed-1", 10, 15);
    at_second.wait(10);
    it.database.wait_until(WAITING, "0");
    assert_eq!(at_first.all().len(), 10);
}

#[test]
fn a_stop_with_a_backlog_keeps_it_and_the_next_start_sends_it_in_order() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    cloud.stop();
    let it = linked(&link("away", cloud.port(), ""), &["timed-1"]);
    publish(&it, "timed-1", 0, 500);
    it.database.wait_until(WAITING, "500");
    // The outage of the other broker costs ingest nothing: the daemon is ready.
    let (status, body) = it.daemon.get("/readyz").unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(it.daemon.terminate(), 0);
    cloud.start_again();
    it.daemon.start_again();
    reader.wait(500);
    reader.assert_complete_and_in_order(&["timed-1"], 500);
    it.database.wait_until(WAITING, "0");
}

#[test]
fn a_backlog_goes_out_pipelined_over_one_lane() {
    const MESSAGES: u32 = 10_000;
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    cloud.stop();
    let it = linked(&link("away", cloud.port(), ""), &["timed-1"]);
    it.database.query(&format!(
        "INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id) \
         SELECT 'away', 0, 'acme', 'timed-1', 'telemetry', 'up/timed-1', 'raw', \
            convert_to(format('{{\"seq\":%s,\"metrics\":{{\"volts\":3.25}}}}', n), 'UTF8'), now(), now(), gen_random_uuid() \
         FROM generate_series(0, {MESSAGES} - 1) n"
    ));
    cloud.start_again();
    it.database.wait_until(WAITING, "0");
    let read = reader.wait(MESSAGES as usize);
    let numbers: Vec<&str> =
        read.iter().map(|read| read.payload.split([':', ',']).nth(1).unwrap()).collect();
    assert!(numbers.iter().enumerate().all(|(n, found)| *found == n.to_string()));
    let seconds = read.last().unwrap().at - read[0].at;
    println!("{:.0} messages a second", f64::from(MESSAGES) / seconds);
    // A build without optimization on a busy machine; a message at a time is far below this.
    assert!(f64::from(MESSAGES) / seconds > 400.0, "{seconds} s");
}
