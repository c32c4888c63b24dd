//! A listener that takes the user name from the certificate asks no plugin at a login. The plugin then finds
//! out at the first message who the client is.

use sluice_shared::frames::from_plugin::FromPlugin;

use crate::client::{Client, Connect};
use crate::daemon::{Daemon, verify};
use crate::mosquitto::{Config, Mosquitto};
use crate::wait;

const DEVICE: &str = "acme/device/pump-1";
const OWN_TOPIC: &str = "tenant/acme/device/pump-1/telemetry";

#[test]
fn the_certificate_is_checked_at_the_first_message() {
    let daemon = Daemon::start();
    let config = Config { uses_identity: true, ..Config::default() };
    let broker = Mosquitto::start(&daemon.socket(), &config);
    daemon.wait_connected();
    let [known, unknown] = [(); 2].map(|()| broker.authority().issue(DEVICE));
    daemon.certify(DEVICE, &[&known]);
    let reader = Connect {
        client_id: "reader",
        username: Some("reader"),
        password: Some("good"),
        ..Connect::default()
    };
    let mut reader = Client::connect(&broker, &reader).unwrap();
    assert_eq!(reader.subscribe("#"), 1);
    let connect = |client_id| Connect { client_id, ..Connect::default() };
    let mut stranger = Client::connect_tls(&broker, &unknown, &connect("one")).unwrap();
    assert_eq!(stranger.publish(OWN_TOPIC, "{}", &[]), Some(0x87));
    let mut pump = Client::connect_tls(&broker, &known, &connect("two")).unwrap();
    assert_eq!(pump.publish(OWN_TOPIC, "{}", &[]), Some(0));
    assert_eq!(verify(&reader.message()).unwrap().0, DEVICE);
    assert_eq!(pump.publish("tenant/acme/device/pump-2/telemetry", "{}", &[]), Some(0x87));
    wait::until("the log warns", || broker.log().contains("use_identity_as_username"));
    daemon.certify(DEVICE, &[]);
    assert_eq!(pump.ended(), Some(0x98));
}

#[test]
fn a_later_connection_with_the_same_client_id_is_another_client() {
    let daemon = Daemon::start();
    let config = Config { uses_identity: true, ..Config::default() };
    let broker = Mosquitto::start(&daemon.socket(), &config);
    daemon.wait_connected();
    let [first, second] = [(); 2].map(|()| broker.authority().issue(DEVICE));
    daemon.certify(DEVICE, &[&first, &second]);
    let connect = Connect { client_id: DEVICE, ..Connect::default() };
    let mut one = Client::connect_tls(&broker, &first, &connect).unwrap();
    assert_eq!(one.publish(OWN_TOPIC, "{}", &[]), Some(0x10));
    one.disconnect();
    wait::until("the broker notices the end", || {
        daemon.received().iter().any(|frame| matches!(frame, FromPlugin::Closed { .. }))
    });
    daemon.certify(DEVICE, &[&second]);
    // The address of the old client may be used for this one, whose certificate is revoked.
    let mut again = Client::connect_tls(&broker, &first, &connect).unwrap();
    assert_eq!(again.publish(OWN_TOPIC, "{}", &[]), Some(0x87));
    let mut two = Client::connect_tls(&broker, &second, &connect).unwrap();
    assert_eq!(two.publish(OWN_TOPIC, "{}", &[]), Some(0x10));
}
