//! An event is one row whatever the number of links that bring it: its identity is that of its source, and
//! no link is part of it.

use std::thread;

use serde_json::{Value, json};

use super::cloud::CloudBroker;
use super::events::{base64, publish};
use super::linked::{linked, mqtt_link};

const RULE: &str = "ingest = [{ filter = \"in/+/events\", tenant = \"acme\", device = \"{2}\" }]\n";

/// An event in binary mode.
fn event(device: &str, source: &str, id: &str, seq: u64) -> Value {
    let properties = [("specversion", "1.0"), ("id", id), ("source", source), ("type", "t")];
    json!({ "topic": format!("in/{device}/events"), "properties": properties,
            "payload": base64(&json!({ "seq": seq }).to_string()) })
}

#[test]
fn an_event_that_two_links_bring_is_one_row_and_another_source_or_device_is_another_event() {
    const EVENTS: u64 = 40;
    let clouds = [(); 2].map(|()| CloudBroker::open());
    let ports = clouds.each_ref().map(|cloud| cloud.broker.port());
    let file = mqtt_link("one", ports[0], RULE) + &mqtt_link("two", ports[1], RULE);
    let it = linked(&file);
    for link in ["one", "two"] {
        it.daemon.wait_metric(&format!("sluice_link_up{{lane=\"0\",link=\"{link}\"}}"), 1.0);
    }
    // The same events over both at the same time, as from two regions of one cloud.
    let events: Vec<Value> =
        (0..EVENTS).map(|number| event("d1", "/plant", &number.to_string(), number)).collect();
    thread::scope(|scope| {
        for port in ports {
            let events = json!(events);
            scope.spawn(move || publish(port, &events));
        }
    });
    // Then another source, and another device, with ids that are known.
    publish(ports[1], &json!([event("d1", "/other", "0", 100), event("d2", "/plant", "0", 101)]));
    // Later, and over the other link only.
    publish(
        ports[0],
        &json!([event("d1", "/other", "0", 102), event("d1", "/plant", "last", 103)]),
    );
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 103", "1");
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 101", "1");
    let ingested = |link: &str| {
        let series = |outcome: &str| {
            let labels = format!("link=\"{link}\",outcome=\"{outcome}\"");
            it.daemon.metric(&format!("sluice_link_ingested_total{{{labels}}}"))
        };
        series("accepted") + series("duplicate")
    };
    assert!(ingested("one") > 0.0 && ingested("two") > 0.0);
    let rows =
        "SELECT count(*), count(DISTINCT seq), count(*) FILTER (WHERE seq < 100) FROM telemetry";
    assert_eq!(it.database.query(rows), [[43, 43, 40].map(|number: u32| number.to_string())]);
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry WHERE seq = 102"), "0");
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "0");
}
