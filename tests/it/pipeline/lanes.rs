//! Several lanes of the writer: nothing is lost or stored twice, each device keeps its order, and a
//! lane that stands still holds only its own devices.

use serde_json::json;

use crate::faults::load::{Load, assert_each_once, counted, settings, settle};
use crate::faults::lock::Lock;
use crate::pipeline::fixture::{Pipeline, TRUSTING, to};
use crate::support::device::Message;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

/// Devices besides the one that is held.
const DEVICES: usize = 32;

/// Messages of each.
const OF_EACH: usize = 20;

/// The writers that wait for a lock.
const WAITING_WRITERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name = 'sluice' AND wait_event_type = 'Lock'";

/// The held device `d0`, which has a state, and the others.
const FLEET: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A');
    INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'd' || n FROM generate_series(0, 32) n;
    INSERT INTO device_state (tenant_id, device_id) VALUES ('acme', 'd0')";

/// The reports of all devices but the held one, in turns, without a version: the last to arrive is
/// kept.
fn reports() -> Vec<Message> {
    let of = |number: usize, device: usize| {
        to(
            &format!("acme/device/d{device}/shadow/reported"),
            json!({ "reported": { "n": number } }).to_string(),
        )
    };
    (1..=OF_EACH).flat_map(|number| (1..=DEVICES).map(move |device| of(number, device))).collect()
}

#[test]
fn each_message_is_stored_once_by_several_lanes_also_after_kills() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).set("WRITER_LANES", "4").start();
    daemon.wait_ready();
    // A message without a time of its own may be stored twice after a kill.
    let devices = ["timed-1", "timed-2", "timed-3", "timed-4", "timed-5", "stranger-1"];
    let load = Load::start(&broker, &database, &devices);
    for round in 1..=3 {
        load.wait_accepted(load.grant(60 * round));
        daemon.kill9();
        load.grant(60);
        daemon.start_again();
        daemon.wait_ready();
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'sluice' AND pid <> pg_backend_pid()",
        );
    }
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    assert_eq!(counted(&daemon, "sluice_early_acks"), 0, "nothing waits at the end");
}

#[test]
fn a_lane_that_waits_for_a_lock_holds_only_its_own_devices_and_order_is_kept() {
    let lanes = [TRUSTING[0], ("WRITER_LANES", "4"), ("FLUSH_INTERVAL_MS", "0")];
    let mut it = Pipeline::new(&lanes, FLEET);
    let lock = Lock::on_rows(&it.database, "device_state", "device_id = 'd0'");
    it.publish("acme/device/d0/shadow/reported", json!({ "reported": { "n": 1 } }).to_string());
    it.database.wait_until(WAITING_WRITERS, "1");

    it.send(&reports());
    // Of 32 devices about 8 share the lane that waits; none would be stored by a single writer.
    let stored = "SELECT count(*) >= 12 FROM device_state WHERE reported ->> 'n' = '20'";
    it.database.wait_until(stored, "t");
    assert_eq!(it.value("SELECT reported IS NULL FROM device_state WHERE device_id = 'd0'"), "t");
    it.daemon.wait_metric("sluice_early_acks", 1.0);
    assert_eq!(it.value(WAITING_WRITERS), "1", "one lane waits");

    drop(lock);
    it.settle();
    let last = "SELECT count(*) FROM device_state WHERE reported ->> 'n' = \
        CASE device_id WHEN 'd0' THEN '1' ELSE '20' END";
    assert_eq!(it.value(last), "33", "the last report of each device is kept");
    wait::until("all are acknowledged", || counted(&it.daemon, "sluice_inflight_unacked") == 0);
    it.assert_unharmed();
}

#[test]
fn a_revocation_reaches_every_lane_before_the_next_message() {
    let lanes = [TRUSTING[0], ("WRITER_LANES", "8")];
    let mut it = Pipeline::new(&lanes, FLEET);
    let telemetry = |device: usize| {
        to(&format!("acme/device/d{device}/telemetry"), json!({ "v": 1 }).to_string())
    };
    let of_all: Vec<Message> = (0..=DEVICES).map(telemetry).collect();
    it.send(&of_all);
    it.settle();
    assert_eq!(it.ended("stored"), 33, "each device is in the cache of its lane");
    it.value("UPDATE devices SET status = 'REVOKED' RETURNING 1");
    it.daemon.wait_metric("sluice_auth_invalidations_total", 33.0);
    it.send(&of_all);
    it.settle();
    assert_eq!((it.ended("stored"), it.ended("quarantined")), (33, 33));
}
