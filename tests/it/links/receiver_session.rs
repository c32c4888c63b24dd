//! The subscriptions of a session that the other broker keeps follow the links file, over reloads and
//! restarts.

use std::fs;

use super::linked::{linked, mqtt_link};
use crate::support::device::{Device, Message};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;

/// Ingest rules with these filters.
fn rules(filters: &[&str]) -> String {
    let rule = |filter: &&str| {
        format!("{{ filter = \"{filter}/+\", tenant = \"acme\", device = \"{{2}}\" }}")
    };
    format!("ingest = [{}]", filters.iter().map(rule).collect::<Vec<_>>().join(", "))
}

#[test]
fn a_filter_that_the_links_file_no_longer_has_is_unsubscribed_after_a_reload_and_a_restart() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let file = |filters: &[&str]| mqtt_link("cloud", cloud.port(), &rules(filters));
    let it = linked(&file(&["a", "b", "c"]));
    let up = "sluice_link_up{lane=\"0\",link=\"cloud\"}";
    it.daemon.wait_metric(up, 1.0);
    let path = it.settings.dir().path().join("links.toml");
    let subscribed =
        "SELECT array_to_string(ARRAY(SELECT unnest(subscribed) ORDER BY 1), ' ') FROM link_state";
    it.database.wait_until(subscribed, "a/+ b/+ c/+");
    let unsubscribes = || cloud.log().matches("Received UNSUBSCRIBE from cloud").count();

    fs::write(&path, file(&["a", "b"])).unwrap();
    it.daemon.signal("HUP");
    it.database.wait_until(subscribed, "a/+ b/+");
    assert_eq!(unsubscribes(), 1);

    // The links file changes while Sluice is away, and what is published meanwhile still arrives.
    assert_eq!(it.daemon.terminate(), 0);
    fs::write(&path, file(&["b", "d"])).unwrap();
    it.daemon.start_again();
    it.database.wait_until(subscribed, "b/+ d/+");
    assert_eq!(unsubscribes(), 2);
    let messages =
        ["a", "c", "b", "d"].map(|topic| Message::new(format!("{topic}/d1"), "{\"seq\":1}"));
    let mut peer = Device::connect(cloud.port(), "peer");
    peer.publish_all(&messages);
    it.database.wait_until("SELECT count(*) FROM telemetry", "2");
    let delivered = || cloud.log().matches("Sending PUBLISH to cloud").count();
    wait::until("both messages were delivered", || delivered() == 2);
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "0");

    // Without a change nothing is unsubscribed.
    assert_eq!(it.daemon.terminate(), 0);
    it.daemon.start_again();
    it.daemon.wait_ready();
    it.daemon.wait_metric(up, 1.0);
    assert_eq!(unsubscribes(), 2);
}
