//! Desired documents: retained, withdrawn, and published again to a broker that has lost them.

use std::fs;

use serde_json::json;

use super::daemon;
use super::receiver::Receiver;
use crate::support::wait;

const CLEAN: &str = "SELECT count(*) FROM device_pushes WHERE dirty_since IS NOT NULL";

fn topic(device: &str) -> String {
    format!("tenant/acme/device/{device}/shadow/desired")
}

#[test]
fn the_broker_retains_the_latest_document_until_it_is_withdrawn() {
    let it = daemon(&[]).start_ready();
    let port = it.broker.port();
    it.database.query(
        "INSERT INTO device_state (tenant_id, device_id, desired) VALUES ('acme', 'p1', '{\"a\":1}');
         UPDATE device_state SET desired = '{\"a\":2}'",
    );
    it.database.wait_until(CLEAN, "0");
    it.daemon.terminate();
    let late = Receiver::clean(port, &[&topic("p1")]);
    let document = late.wait_for(1).remove(0);
    assert!(document.head.contains("retain=1"), "{}", document.head);
    assert_eq!(
        (&document.payload["version"], &document.payload["desired"]),
        (&2.into(), &json!({"a": 2}))
    );
    it.daemon.start_again();
    it.database.query("DELETE FROM devices WHERE device_id = 'p1'");
    wait::until("the document is withdrawn", || late.last_on(&topic("p1")).is_none());
    it.database.wait_until(CLEAN, "0");
    it.database.query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1')");
    let later = Receiver::clean(port, &[&topic("p1")]);
    assert_eq!(later.all().len(), 0, "nothing of the device that was removed");
}

#[test]
fn a_broker_that_lost_documents_gets_them_again() {
    let it = daemon(&[]).start_ready();
    let port = it.broker.port();
    let count = 250;
    it.database.query(&format!(
        "INSERT INTO device_state (tenant_id, device_id, desired)
         SELECT 'acme', 'd' || n, jsonb_build_object('n', n) FROM generate_series(1, {count}) AS n"
    ));
    it.database.wait_until(CLEAN, "0");
    it.broker.stop();
    for file in fs::read_dir(it.broker.dir().path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "db") {
            fs::remove_file(path).unwrap();
        }
    }
    it.broker.start_again();
    let all = Receiver::clean(port, &["tenant/+/device/+/shadow/desired"]);
    all.wait_for(count);

    // The broker saves what it has, gets another document, and is killed: it reads the older file.
    let losses = || it.daemon.log().matches("the broker may have lost documents").count();
    let before = losses();
    it.database.wait_until(CLEAN, "0");
    let marker = Receiver::clean(port, &["sluice/outbox"]);
    wait::until("the marker is out", || marker.text().contains("sluice/outbox "));
    it.broker.signal("USR1");
    wait::until("the broker has saved", || it.broker.log().contains("Saving in-memory database"));
    it.database.query("UPDATE device_state SET desired = '{\"late\":true}' WHERE device_id = 'd7'");
    wait::until("the document is out", || {
        all.last_on(&topic("d7")).is_some_and(|last| last["desired"]["late"] == true)
    });
    it.database.wait_until(CLEAN, "0");
    it.broker.kill9();
    it.broker.start_again();
    wait::until("the loss is noticed", || losses() > before);
    it.database.wait_until(CLEAN, "0");
    let late = Receiver::clean(port, &[&topic("d7")]);
    assert_eq!(late.wait_for(1)[0].payload["desired"], json!({"late": true}));
}

#[test]
fn a_document_that_is_not_retained_reaches_only_who_listens() {
    let it = daemon(&[("SHADOW_RETAIN", "0")]).start_ready();
    let port = it.broker.port();
    let now = Receiver::clean(port, &[&topic("p1")]);
    it.database.query(
        "INSERT INTO device_state (tenant_id, device_id, desired) VALUES ('acme', 'p1', '{}')",
    );
    wait::until("the document arrives", || now.last_on(&topic("p1")).is_some());
    it.database.wait_until(CLEAN, "0");
    assert_eq!(Receiver::clean(port, &[&topic("p1")]).all().len(), 0);
}
