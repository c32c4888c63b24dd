//! A daemon with links, and what tests ask of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::cloud::{CloudBroker, READER};
use super::rig::Peer;
use crate::support::device::Device;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

/// Tenant `acme` with the devices `d0` to `d19`.
pub fn registry() -> String {
    "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) \
     SELECT 'acme', 'd' || n FROM generate_series(0, 19) n;"
        .into()
}

/// A daemon with a broker and a database of its own and this links file, ready.
pub fn linked(links: &str) -> TestDaemon {
    TestDaemon::builder()
        .broker()
        .registry(&registry())
        .set("REQUIRE_TOKEN", "0")
        // Above what clouds accept.
        .set("MAX_PAYLOAD_BYTES", "1000000")
        .file("LINKS_PATH", "links.toml", links)
        .start_ready()
}

/// An outage of a cloud is none of the daemon's.
pub fn is_ready(it: &TestDaemon) {
    let (status, body) = it.daemon.get("/readyz").unwrap();
    assert_eq!(status, 200, "{body}{}", wait::log_tails());
}

/// A link of kind `mqtt` over TCP, with these further lines.
pub fn mqtt_link(name: &str, port: u16, more: &str) -> String {
    format!(
        "[link.{name}]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = {port}\ntransport = \"tcp\"\n\
         client_id = \"{name}\"\n{more}\n"
    )
}

/// A rule that forwards all telemetry to `devices/gate-1/<device>/events`.
pub fn forwards(mode: &str) -> String {
    format!(
        "publish = [{{ from = \"tenant/+/device/+/telemetry\", to = \"devices/gate-1/{{device}}/events\", \
         mode = \"{mode}\" }}]\n"
    )
}

/// A link with the login of Event Grid.
pub fn azure_link(name: &str, cloud: &CloudBroker, key: &Path, more: &str) -> String {
    let mut text = format!("[link.{name}]\nkind = \"event-grid\"\nhost = \"127.0.0.1\"\n");
    writeln!(text, "ca_cert = \"{}\"\nauth = \"jwt\"", cloud.ca().display()).unwrap();
    writeln!(text, "key = \"{}\"\nissuer = \"sluice-test\"\n{more}", key.display()).unwrap();
    text
}

/// Publishes numbered messages of a device at the local broker.
pub fn publish(device: &mut Device, name: &str, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let payload = json!({ "seq": number, "metrics": { "t": 21.5 } }).to_string();
        device.publish(&format!("tenant/acme/device/{name}/telemetry"), payload);
    }
}

/// A subscriber to all that devices' topics at the cloud carry, with a session that is kept.
pub fn collector(port: u16) -> Peer {
    let wish = json!({
        "url": format!("mqtt://127.0.0.1:{port}"), "filter": "devices/#",
        "username": READER, "password": READER,
    });
    let mut peer = Peer::start("collect.js", &[&wish.to_string()]);
    peer.wait_for("subscribed");
    peer
}

/// The judge of CloudEvents at the cloud.
pub fn judge(port: u16) -> Peer {
    let wish = json!({
        "url": format!("mqtt://127.0.0.1:{port}"), "filter": "devices/#",
        "username": READER, "password": READER,
    });
    let mut peer = Peer::start("events_judge.js", &[&wish.to_string()]);
    peer.wait_for("subscribed");
    peer
}

/// The numbers that have arrived, by topic, in the order of their first appearance.
pub fn first_appearances(collector: &Peer) -> BTreeMap<String, Vec<u64>> {
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in collector.lines() {
        let mut words = line.split(' ');
        let (Some(topic), Some(number)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse() else { continue };
        let numbers = seen.entry(topic.to_owned()).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    seen
}

/// Waits until a topic has brought these numbers, and in ascending order.
pub fn wait_in_order(collector: &Peer, topic: &str, count: usize) {
    wait::for_ok(&format!("{topic} has brought {count} messages"), || {
        let seen = first_appearances(collector).remove(topic).unwrap_or_default();
        assert!(seen.is_sorted(), "{topic}: {seen:?}");
        if seen.len() == count { Ok(()) } else { Err(format!("{} so far", seen.len())) }
    });
}

/// A user property of a message that the judge has printed.
pub fn property<'a>(message: &'a Value, name: &str) -> &'a str {
    message["properties"][name].as_str().unwrap_or_default()
}
