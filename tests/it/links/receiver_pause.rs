//! A link that can take no further message, because Postgres commits nothing, stays connected.

use serde_json::json;

use super::cloud::CloudBroker;
use super::linked::{linked, mqtt_link};
use crate::support::device::{Device, Message};
use crate::support::mosquitto::MosquittoOptions;
use crate::support::wait;

/// More than the 64 MiB that a receiver holds.
const MESSAGES: usize = 90;
const PAYLOAD: usize = 900_000;

#[test]
fn a_pause_of_postgres_longer_than_the_keepalive_ends_no_link() {
    let options = MosquittoOptions::default().line("max_queued_messages 0");
    let cloud = CloudBroker::with(options);
    let port = cloud.broker.port();
    let rule = "ingest = [{ filter = \"in/+\", tenant = \"acme\", device = \"{2}\" }]";
    let it = linked(&mqtt_link("cloud", port, &format!("keepalive = \"5s\"\n{rule}")));
    it.daemon.wait_metric("sluice_link_up{lane=\"0\",link=\"cloud\"}", 1.0);
    let pings = || cloud.count("Received PINGREQ from cloud");
    std::thread::scope(|scope| {
        // Twice as long as the other broker waits for a packet.
        scope.spawn(|| {
            it.database.query(
                "BEGIN; LOCK TABLE telemetry IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(15); COMMIT",
            )
        });
        let held = "SELECT count(*) > 0 FROM pg_locks WHERE mode = 'AccessExclusiveLock' \
                    AND relation = 'telemetry'::regclass AND granted";
        it.database.wait_until(held, "t");
        let body = |number| {
            let text = "x".repeat(PAYLOAD);
            Message::new("in/d1", json!({ "seq": number, "note": text }).to_string())
        };
        let all: Vec<Message> = (0..MESSAGES).map(body).collect();
        Device::connect(port, "peer").publish_all(&all);
        let before = pings();
        wait::until("it pings while it reads nothing", || pings() >= before + 2);
        assert_eq!(it.database.value(held), "t", "the pause has ended too early");
    });
    let all = "SELECT count(DISTINCT seq) FROM telemetry WHERE device_id = 'd1'";
    it.database.wait_until(all, &MESSAGES.to_string());
    assert_eq!(cloud.count("as cloud"), 1, "one connection");
    assert!(it.daemon.rss_kib() < 600 * 1024);
}
