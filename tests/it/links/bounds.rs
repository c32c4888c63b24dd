//! An outage of the other broker that is longer than the backlog: local ingest does not notice, the
//! table stays within its bound, and every message arrives in the end.

use serde_json::json;

use super::cloud::{CloudBroker, READER};
use super::linked::{collector, first_appearances, forwards, is_ready, linked, mqtt_link};
use crate::support::device::{Device, Fate, Message};
use crate::support::mosquitto::MosquittoOptions;
use crate::support::wait;

/// Ten times what may wait.
const MESSAGES: u64 = 10_240;
const PAYLOAD: usize = 1024;
const BOUND: u64 = 1024 * 1024;
/// A batch may begin just below the bound.
const BATCH: u64 = 1000 * PAYLOAD as u64;
const DEVICES: u64 = 8;

/// Ten mebibytes of messages, numbered for each device.
fn messages() -> Vec<Message> {
    (0..MESSAGES)
        .map(|number| {
            let (device, seq) = (number % DEVICES, number / DEVICES);
            let mut payload = json!({ "seq": seq, "metrics": { "t": 1 }, "note": "" }).to_string();
            let room = PAYLOAD - payload.len();
            payload =
                payload.replace("\"note\":\"\"", &format!("\"note\":\"{}\"", "x".repeat(room)));
            Message::new(format!("tenant/acme/device/d{device}/telemetry"), payload)
        })
        .collect()
}

#[test]
fn an_outage_longer_than_the_backlog_loses_no_message_and_ends_its_gap() {
    let options = MosquittoOptions::default().user(READER, READER).line("max_inflight_messages 0");
    let cloud = CloudBroker::with(options);
    let received = collector(cloud.broker.port());
    let password = cloud.broker.dir().write("reader.password", READER);
    let more = format!(
        "auth = \"password\"\nusername = \"{READER}\"\npassword_file = \"{}\"\nbacklog_max_bytes = \"1MiB\"\n{}",
        password.display(),
        forwards("binary")
    );
    let it = linked(&mqtt_link("cloud", cloud.broker.port(), &more));
    it.daemon.wait_metric("sluice_link_up{lane=\"0\",link=\"cloud\"}", 1.0);
    cloud.broker.stop();
    let before = it.daemon.rss_kib();
    let mut device = Device::connect(it.broker.port(), "devices");
    let waiting = "SELECT coalesce(sum(octet_length(payload)), 0) FROM link_outbox";
    let mut most = 0;
    for part in messages().chunks(1024) {
        assert!(device.publish_all(part).iter().all(|fate| *fate == Fate::Accepted));
        most = most.max(it.database.value(waiting).parse::<u64>().unwrap());
    }
    it.database.wait_until("SELECT count(*) FROM telemetry", &MESSAGES.to_string());
    is_ready(&it);
    most = most.max(it.database.value(waiting).parse().unwrap());
    assert!((BOUND / 2..=BOUND + BATCH).contains(&most), "{most} bytes wait");
    assert_ne!(it.database.value("SELECT count(*) FROM link_gaps"), "0");
    it.daemon.wait_metric("sluice_link_gap_seconds{link=\"cloud\"}", 0.001);
    let grown = it.daemon.rss_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "the daemon grew by {grown} KiB");

    cloud.broker.start_again();
    wait::for_ok("every number arrives", || {
        let seen = first_appearances(&received);
        let count: usize = seen.values().map(Vec::len).sum();
        if count as u64 == MESSAGES { Ok(()) } else { Err(format!("{count} so far")) }
    });
    for (topic, numbers) in first_appearances(&received) {
        assert!(numbers.is_sorted(), "{topic}: {numbers:?}");
    }
    it.database.wait_until("SELECT count(*) FROM link_outbox", "0");
    it.database.wait_until("SELECT count(*) FROM link_gaps", "0");
    assert!(it.daemon.metric("sluice_link_lost_total") < 1.0);
}
