//! A link to a broker with the login of Azure Event Grid: tokens on the connection, over TLS and over
//! a websocket.

use super::cloud::{CloudBroker, TokenKeys};
use super::linked::{
    azure_link, collector, first_appearances, forwards, is_ready, linked, publish, wait_in_order,
};
use crate::support::device::Device;
use crate::support::wait;

/// A token that is renewed after nine seconds.
const LIFETIME: &str = "lifetime = \"12s\"\n";

#[test]
fn one_connection_lives_through_renewals_and_a_rotated_key_is_survived() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let received = collector(cloud.broker.port());
    let to = |name: &str| forwards("binary").replace("gate-1", name);
    let link = |name: &str, port: u16, transport: &str| {
        let lines = format!(
            "port = {port}\ntransport = \"{transport}\"\nclient_id = \"{name}\"\nsubject = \"{name}\"\n{LIFETIME}{}",
            to(name)
        );
        azure_link(name, &cloud, &keys.private(), &lines)
    };
    let links = link("gate-1", cloud.tls, "tls") + &link("gate-2", cloud.wss, "wss");
    let it = linked(&links);
    for name in ["gate-1", "gate-2"] {
        let connected = format!("u'{name}')");
        wait::until(&connected, || cloud.count(&connected) == 1);
        it.daemon.wait_metric(&format!("sluice_link_up{{lane=\"0\",link=\"{name}\"}}"), 1.0);
    }
    let mut device = Device::connect(it.broker.port(), "d0");
    let mut sent = 0;
    let renewals = |name: &str| cloud.count(&format!("custom_jwt: {name} renewed"));
    wait::until("three renewals of both", || {
        publish(&mut device, "d0", sent..=sent);
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
        renewals("gate-1").min(renewals("gate-2")) >= 3
    });
    for name in ["gate-1", "gate-2"] {
        assert_eq!(cloud.count(&format!("u'{name}')")), 1, "{name} connects once");
        let count = usize::try_from(sent).unwrap();
        wait_in_order(&received, &format!("devices/{name}/d0/events"), count);
    }
    // The broker trusts another key: the renewal is refused, the link too, and no message is lost.
    keys.distrust();
    it.daemon.wait_metric("sluice_link_state{link=\"gate-1\",state=\"refused\"}", 1.0);
    publish(&mut device, "d0", sent..sent + 10);
    it.database.wait_until("SELECT count(*) FROM telemetry", &(sent + 10).to_string());
    is_ready(&it);
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox WHERE link = 'gate-1'"), "10");
    keys.rotate();
    for name in ["gate-1", "gate-2"] {
        let count = usize::try_from(sent + 10).unwrap();
        wait_in_order(&received, &format!("devices/{name}/d0/events"), count);
    }
    it.database.wait_until("SELECT count(*) FROM link_outbox", "0");
    assert_eq!(first_appearances(&received).len(), 2);
}

#[test]
fn a_topic_outside_of_the_topic_space_holds_up_no_other() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let received = collector(cloud.broker.port());
    let lines = format!(
        "port = {}\nclient_id = \"gate-1\"\nsubject = \"gate-1\"\nrefuse_after = \"2s\"\npublish = [\n\
         {{ from = \"tenant/+/device/d0/telemetry\", to = \"devices/other/{{device}}/events\" }},\n\
         {{ from = \"tenant/+/device/+/telemetry\", to = \"devices/gate-1/{{device}}/events\" }},\n]\n",
        cloud.tls
    );
    let it = linked(&azure_link("azure", &cloud, &keys.private(), &lines));
    let mut device = Device::connect(it.broker.port(), "devices");
    for number in 0..20 {
        publish(&mut device, "d0", [number]);
        publish(&mut device, "d1", [number]);
    }
    wait_in_order(&received, "devices/gate-1/d1/events", 20);
    it.database.wait_until("SELECT count(*) FROM link_outbox", "0");
    let refused = "SELECT DISTINCT device_id || ' ' || reason || ' ' || code FROM link_refused";
    it.database.wait_until(refused, "d0 NOT_AUTHORIZED 135");
    it.database.wait_until("SELECT count(*) FROM link_refused", "20");
    assert!(!first_appearances(&received).contains_key("devices/other/d0/events"));
}
