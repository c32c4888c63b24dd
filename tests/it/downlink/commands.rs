//! Commands from a row of plain SQL to the device and back.

use std::time::{Duration, Instant};

use super::receiver::{Answering, Receiver};
use super::{REGISTRY, daemon, queue};
use crate::support::device::Device;
use crate::support::wait;

#[test]
fn a_row_reaches_the_device_and_its_acknowledgement_finishes_it() {
    let it = daemon(&[]).start_ready();
    let port = it.broker.port();
    let receiver = Receiver::clean(port, &["tenant/acme/device/p1/commands"]);
    queue(&it.database, "p1", 1..=1);
    let first = receiver.wait_for(1).remove(0);
    assert_eq!(first.payload["command_type"], "c1");
    assert_eq!((&first.payload["attempt"], &first.payload["params"]["n"]), (&1.into(), &1.into()));
    let head = &first.head;
    assert!(head.contains("retain=0") && head.contains("expiry=3"), "{head}");
    assert!(head.ends_with("to=tenant/acme/device/p1/commands/ack"), "{head}");
    let status = "SELECT status FROM device_commands";
    it.database.wait_until(status, "PUBLISHED");
    let mut device = Device::connect(port, "p1");
    let mut answer = |status: &str| {
        let ack = format!(r#"{{"command_id":"{}","status":"{status}"}}"#, first.id());
        device.publish("tenant/acme/device/p1/commands/ack", ack);
    };
    answer("in_progress");
    it.database.wait_until(status, "IN_PROGRESS");
    answer("failed");
    it.database.wait_until(status, "FAILED");
    answer("ok");
    it.daemon.wait_metric("sluice_messages_total{result=\"duplicate\"}", 1.0);
    assert_eq!(it.database.value(status), "FAILED", "the first final acknowledgement counts");
    it.daemon.wait_metric("sluice_command_answer_seconds_count", 1.0);
    assert!(it.daemon.metric("sluice_command_delivery_seconds_count") > 0.0);

    // The notification wakes the publisher: the poll alone would take half a second on average.
    let mut times: Vec<Duration> = (2..=21)
        .map(|number| {
            let start = Instant::now();
            queue(&it.database, "p1", number..=number);
            receiver.wait_for(number as usize);
            it.database.query("UPDATE device_commands SET status = 'ACKNOWLEDGED'");
            start.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[10] < Duration::from_millis(250), "{times:?}");
}

#[test]
fn the_queue_of_a_device_that_is_away_stays_in_postgres() {
    let it = daemon(&[("COMMAND_WINDOW", "4")]).start_ready();
    let (port, topic) = (it.broker.port(), "tenant/acme/device/p1/commands");
    drop(Receiver::lasting(port, "p1", &[topic]));
    queue(&it.database, "p1", 1..=300);
    let published = "SELECT count(*) FROM device_commands WHERE status = 'PUBLISHED'";
    it.database.wait_until(published, "4");
    let receiver = Receiver::lasting(port, "p1", &[topic]);
    receiver.wait_for(4);
    assert_eq!(it.database.value(published), "4", "the window is full");
    let _answering = Answering::start(port, &receiver, "acme/device/p1");
    let finished = "SELECT count(*) FROM device_commands WHERE status = 'ACKNOWLEDGED' \
        AND finished_at IS NOT NULL";
    it.database.wait_until(finished, "300");
    let types: Vec<String> = receiver
        .all()
        .iter()
        .map(|arrival| arrival.payload["command_type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types, (1..=300).map(|number| format!("c{number}")).collect::<Vec<_>>());
}

#[test]
fn a_command_that_was_lost_is_published_again_once_the_device_is_seen() {
    let it = daemon(&[("COMMAND_RESEND_SECONDS", "5")]).start_ready();
    let port = it.broker.port();
    queue(&it.database, "p1", 1..=1);
    let attempts = "SELECT attempts FROM device_commands";
    it.database.wait_until(attempts, "1");
    let receiver = Receiver::clean(port, &["tenant/acme/device/p1/commands"]);
    let over = "SELECT published_at < now() - interval '8 s' FROM device_commands";
    it.database.wait_until(over, "t");
    assert_eq!(it.database.value(attempts), "1", "the device was not seen");
    Device::connect(port, "p1").publish("tenant/acme/device/p1/telemetry", r#"{"metrics":{}}"#);
    let again = receiver.wait_for(1).remove(0);
    assert_eq!(again.payload["attempt"], 2);
    it.database.wait_until(attempts, "2");
    assert_eq!(it.database.value("SELECT command_id FROM device_commands"), again.id());
}

#[test]
fn commands_that_may_not_be_published_wait_or_end() {
    let it = daemon(&[]).start_ready();
    let receiver = Receiver::clean(it.broker.port(), &["tenant/+/device/+/commands"]);
    queue(&it.database, "off", 1..=1);
    queue(&it.database, "nobody", 2..=2);
    it.database.query(
        "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, params, created_at, expires_at) VALUES
            (lpad('3', 32, '0')::uuid, 'acme', 'p1', 'large', jsonb_build_object('x', repeat('x', 200000)), now(), NULL),
            (lpad('4', 32, '0')::uuid, 'acme', 'p1', 'old', '{}', '2019-01-01', NULL),
            (lpad('5', 32, '0')::uuid, 'acme', 'nobody', 'brief', '{}', now(), now() + interval '1 s'),
            (lpad('6', 32, '0')::uuid, 'acme', 'p1', 'good', '{}', now(), NULL)",
    );
    let types = |receiver: &Receiver| -> Vec<String> {
        let all = receiver.all();
        all.iter().map(|one| one.payload["command_type"].to_string()).collect()
    };
    receiver.wait_for(1);
    assert_eq!(types(&receiver), ["\"good\""]);
    it.database.wait_until("SELECT count(*) FROM device_commands WHERE status = 'EXPIRED'", "2");
    it.database.wait_until("SELECT count(*) FROM device_commands WHERE status = 'FAILED'", "1");
    let failed = it.database.query(
        "SELECT command_type, ack_details -> 'details' ->> 'error' FROM device_commands WHERE status = 'FAILED'",
    );
    assert!(failed[0][1].contains("at most 131072 are published"), "{failed:?}");
    it.database.query("UPDATE devices SET status = 'ACTIVE' WHERE device_id = 'off'");
    receiver.wait_for(2);
    assert_eq!(types(&receiver), ["\"good\"", "\"c1\""]);
    let waiting = "SELECT command_type FROM device_commands WHERE status = 'PENDING'";
    assert_eq!(it.database.value(waiting), "c2", "an unknown device's command waits");
}

#[test]
fn a_command_of_the_version_before_expires_and_is_never_published() {
    let builder = daemon(&[]);
    let it = builder
        .registry(&format!(
            "{REGISTRY}; INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, status, created_at)
             SELECT gen_random_uuid(), 'acme', 'p1', 'old', status, '2024-05-01'
             FROM unnest(ARRAY['PENDING', 'PUBLISHED', 'ACKNOWLEDGED', 'EXPIRED']) AS status"
        ))
        .start_ready();
    let receiver = Receiver::clean(it.broker.port(), &["tenant/+/device/+/commands"]);
    it.database.wait_until("SELECT count(*) FROM device_commands WHERE status = 'EXPIRED'", "3");
    queue(&it.database, "p1", 1..=1);
    assert_eq!(receiver.wait_for(1)[0].payload["command_type"], "c1");
    wait::until("the count of commands is current", || {
        it.daemon.metric("sluice_outbox_publisher") >= 1.0
    });
}
