//! What comes in over a link, against a real Mosquitto as the other broker: checks, acknowledgements
//! after the commit, loops, and what a flood does to the local devices.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::cloud::CloudBroker;
use super::linked::{linked, mqtt_link, registry};
use crate::support::device::{Device, Message};
use crate::support::mosquitto::MosquittoOptions;
use crate::support::process::run_to_end;
use crate::support::proxy::{Direction, Proxy};
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const UP: &str = "sluice_link_up{lane=\"0\",link=\"cloud\"}";

/// Rules for topics of three and of two levels.
const RULES: &str = "ingest = [{ filter = \"in/+/events\", tenant = \"acme\", device = \"{2}\" },\n\
    { filter = \"any/+\", tenant = \"acme\", device = \"{2}\", lenient = true }]\n";

/// Publishes one message at the other broker: an event in binary mode with this id, or a plain one.
fn publish(port: u16, topic: &str, id: Option<&str>, payload: &str) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "5", "-q", "1", "-p", &port.to_string(), "-t", topic, "-m", payload]);
    let event = [("specversion", "1.0"), ("source", "/plant"), ("type", "reading")];
    for (name, value) in id.map(|id| ("id", id)).into_iter().chain(event) {
        if id.is_some() {
            command.args(["-D", "publish", "user-property", name, value]);
        }
    }
    run_to_end(&mut command);
}

fn events_of(it: &TestDaemon, link: &str) -> Vec<(String, String)> {
    let rows = it.database.query(&format!(
        "SELECT reason, detail FROM quarantine_events WHERE link = '{link}' ORDER BY received_at"
    ));
    rows.into_iter().map(|mut row| (row.remove(0), row.remove(0))).collect()
}

#[test]
fn a_link_needs_no_token_and_every_other_check_holds() {
    let cloud = CloudBroker::open();
    let port = cloud.broker.port();
    // Retained before Sluice has subscribed.
    let mut peer = Device::connect(port, "peer");
    peer.publish_all(&[Message::new("in/d9/events", "{\"seq\":9}").retained()]);
    let registry = format!(
        "{} UPDATE devices SET status = 'REVOKED' WHERE device_id = 'd1'; \
         UPDATE devices SET status = 'INACTIVE' WHERE device_id = 'd2'; \
         UPDATE devices SET site_id = 'north' WHERE device_id = 'd3';",
        registry()
    );
    let it = TestDaemon::builder()
        .broker()
        .registry(&registry)
        .file("LINKS_PATH", "links.toml", mqtt_link("cloud", port, RULES))
        .start_ready();
    it.daemon.wait_metric(UP, 1.0);
    it.database.wait_until("SELECT device_id FROM telemetry WHERE seq = 9", "d9");
    for (topic, payload, reason) in [
        ("in/d1/events", "{}", "DEVICE_REVOKED"),
        ("in/d2/events", "{\"seq\":2}", "DEVICE_INACTIVE"),
        ("in/d3/events", "{\"site_id\":\"south\"}", "SITE_MISMATCH_REGISTRY_VS_PAYLOAD"),
        ("in/stranger/events", "{}", "UNREGISTERED_DEVICE"),
        ("in/a b/events", "{}", "BAD_TOPIC_FORMAT"),
        ("in/d4/events", "{\"ts\":5}", "TIMESTAMP_OUT_OF_RANGE"),
        ("in/d4/events", "[1]", "BAD_PAYLOAD"),
        (
            "any/d4",
            "{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/s\",\"type\":\"t\"}",
            "BAD_PAYLOAD",
        ),
    ] {
        let before = events_of(&it, "cloud").len();
        publish(port, topic, None, payload);
        wait::until(&format!("{topic} {payload} is quarantined"), || {
            events_of(&it, "cloud").len() > before
        });
        let (found, detail) = events_of(&it, "cloud").pop().unwrap();
        assert_eq!(found, reason, "{topic} {payload}: {detail}");
    }
    let events = events_of(&it, "cloud");
    assert!(events[4].1.contains("link cloud: the topic in/a b/events gives"), "{events:?}");
    assert!(events[7].1.contains("link cloud: the attribute id is empty"), "{events:?}");
    publish(port, "in/d4/events", None, "{\"seq\":4}");
    it.database.wait_until("SELECT link FROM telemetry WHERE device_id = 'd4'", "cloud");
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "2");
    let counted = |outcome: &str| {
        let series = format!("sluice_link_ingested_total{{link=\"cloud\",outcome=\"{outcome}\"}}");
        it.daemon.metric(&series).round().to_string()
    };
    assert_eq!((counted("accepted"), counted("refused")), ("2".to_owned(), "8".to_owned()));
    replays(&it);
}

/// A replayed message is judged as a message of its link; what the link itself refused stays refused.
fn replays(it: &TestDaemon) {
    it.database.query("UPDATE devices SET status = 'ACTIVE' WHERE device_id = 'd2'");
    let done = it
        .settings
        .command(&["quarantine", "replay", "--all", "--output", "json"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let row = "SELECT link FROM telemetry WHERE device_id = 'd2' AND seq = 2";
    assert_eq!(it.database.value(row), "cloud", "{text}");
    let stays = "SELECT count(*) FROM quarantine_events WHERE replayed_at IS NULL";
    assert_eq!(it.database.value(stays), "7", "{text}");
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "3", "{text}");
}

#[test]
fn an_event_is_one_row_although_sluice_is_killed_before_and_after_the_commit() {
    let cloud = CloudBroker::open();
    let port = cloud.broker.port();
    let proxy = Proxy::to(port);
    let it = linked(&mqtt_link("cloud", proxy.port(), RULES));
    it.daemon.wait_metric(UP, 1.0);
    // Between commit and acknowledgement: the row is there, PUBACK does not get through.
    proxy.hold(Direction::ToServer);
    publish(port, "in/d1/events", Some("1"), "{\"seq\":1}");
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 1", "1");
    it.daemon.kill9();
    proxy.release(Direction::ToServer);
    it.daemon.start_again();
    it.daemon.wait_ready();
    it.daemon.wait_metric(UP, 1.0);
    publish(port, "in/d1/events", Some("2"), "{\"seq\":2}");
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 2", "1");
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "2");
    // Between receipt and commit: the table is locked while the message arrives.
    let locked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                  AND query ~ 'telemetry'";
    std::thread::scope(|scope| {
        scope.spawn(|| {
            it.database.query(
                "BEGIN; LOCK TABLE telemetry IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); COMMIT",
            )
        });
        let held = "SELECT count(*) > 0 FROM pg_locks WHERE mode = 'AccessExclusiveLock' \
                    AND relation = 'telemetry'::regclass AND granted";
        it.database.wait_until(held, "t");
        publish(port, "in/d1/events", Some("3"), "{\"seq\":3}");
        it.database.wait_until(locked, "t");
        it.daemon.kill9();
    });
    it.daemon.start_again();
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 3", "1");
    // The same ids once more, without a time, in another mode.
    let structured = |id: u32| {
        json!({ "specversion": "1.0", "id": id.to_string(), "source": "/plant", "type": "reading",
                "data": { "seq": id } })
    };
    for id in 1..=4 {
        publish(port, "any/d1", None, &structured(id).to_string());
    }
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 4", "1");
    assert_eq!(
        it.database.value("SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM telemetry"),
        "1 2 3 4"
    );
}

#[test]
fn a_message_does_not_come_back_over_another_link() {
    let cloud = CloudBroker::open();
    let port = cloud.broker.port();
    // `a` publishes to ring/a and receives ring/b. `b` receives ring/a and publishes to ring/b over
    // another link, since no link forwards what came from itself.
    let link = |name: &str, node: &str, rules: &str| {
        mqtt_link(name, port, rules)
            .replace(&format!("client_id = \"{name}\""), &format!("client_id = \"{node}-{name}\""))
    };
    let send = |to: &str| {
        format!(
            "publish = [{{ from = \"tenant/+/device/+/#\", to = \"{to}/{{device}}\", mode = \"binary\" }}]"
        )
    };
    let take = |from: &str| {
        format!("ingest = [{{ filter = \"{from}/+\", tenant = \"acme\", device = \"{{2}}\" }}]")
    };
    let a = linked(&format!(
        "node = \"a\"\n{}",
        link(
            "cloud",
            "a",
            &format!("{}\n{}", send("ring/a"), take("ring/b").replace("{2}", "{3}"))
        )
    ));
    let b = linked(&format!(
        "node = \"b\"\n{}{}",
        link("cloud", "b", &take("ring/a").replace("{2}", "{3}")),
        link("out", "b", &send("ring/b"))
    ));
    a.daemon.wait_metric(UP, 1.0);
    b.daemon.wait_metric(UP, 1.0);
    let mut device = Device::connect(a.broker.port(), "d1");
    device.publish("tenant/acme/device/d1/telemetry", "{\"seq\":1}");
    b.database.wait_until("SELECT link FROM telemetry WHERE seq = 1", "cloud");
    a.daemon.wait_metric("sluice_link_ingested_total{link=\"cloud\",outcome=\"own\"}", 1.0);
    assert_eq!(a.database.value("SELECT count(*) FROM telemetry"), "1");
    assert_eq!(b.database.value("SELECT count(*) FROM telemetry"), "1");
    assert_eq!(a.database.value("SELECT count(*) FROM quarantine_events"), "0");
}

#[test]
fn a_flood_from_a_link_does_not_starve_the_local_devices() {
    const FLOOD: usize = 20_000;
    let options = MosquittoOptions::default().line("max_queued_messages 0");
    let cloud = CloudBroker::with(options);
    let port = cloud.broker.port();
    let it = linked(&mqtt_link("cloud", port, RULES));
    it.daemon.wait_metric(UP, 1.0);
    let flood: Vec<Message> = (0..FLOOD)
        .map(|number| Message::new("in/d1/events", format!("{{\"seq\":{number}}}")))
        .collect();
    let flooding =
        std::thread::spawn(move || Device::connect(port, "flood").publish_all(&flood).len());
    it.database.wait_until("SELECT count(*) > 100 FROM telemetry WHERE device_id = 'd1'", "t");
    let mut device = Device::connect(it.broker.port(), "d2");
    let mut slowest = Duration::ZERO;
    for number in 0..10 {
        let begun = Instant::now();
        device.publish("tenant/acme/device/d2/telemetry", format!("{{\"seq\":{number}}}"));
        let stored =
            format!("SELECT count(*) FROM telemetry WHERE device_id = 'd2' AND seq = {number}");
        wait::until("a local message is stored", || it.database.value(&stored) == "1");
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "the slowest local message took {slowest:?}");
    assert_eq!(flooding.join().unwrap(), FLOOD);
    let all = "SELECT count(DISTINCT seq) FROM telemetry WHERE device_id = 'd1'";
    it.database.wait_until(all, &FLOOD.to_string());
}
