//! A cell that has joined: it gets what the registry has, hears each change, decides by its copy, and
//! changes nothing of it.

use std::time::{Duration, Instant};

use sqlx::postgres::PgListener;
use sqlx::{Connection, Executor, PgConnection};

use super::cell_rig::{CellRig, Servers};
use crate::api::client::ask;
use crate::support::database::block_on;
use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::PASSWORD;
use crate::support::wait;

/// Changes whose way is measured.
const CHANGES: usize = 200;
/// The promise is 100 ms; this machine may be busy.
const P99: Duration = Duration::from_secs(1);

const DEVICES: &str = "SELECT * FROM devices ORDER BY 1, 2";

#[test]
fn a_cell_has_the_rows_of_the_registry_and_hears_each_change() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    let shown = rig.done(&["join", "north"]);
    assert!(
        shown.contains("CREATE SUBSCRIPTION sluice_north")
            && shown.contains("streaming = off")
            && shown.contains(":***@"),
        "{shown}"
    );
    assert!(rig.slots().is_empty(), "nothing was changed");
    rig.join();
    rig.wait_equal(DEVICES);
    let took = times(rig.registry.url(), rig.cell.url());
    let p99 = took[CHANGES * 99 / 100];
    eprintln!(
        "a change is heard in a cell: p50 {:?}, p99 {p99:?}, max {:?}",
        took[CHANGES / 2],
        took[CHANGES - 1]
    );
    assert!(p99 < P99, "{p99:?}");
    a_mass_change_is_few_notifications(&rig);
    a_revocation_begins_its_steps(&rig);
    what_the_cell_keeps_goes_with_a_device(&rig);
    let text = servers.cell.log() + &servers.registry.log();
    assert!(!text.contains(PASSWORD), "a server's log has the password");
    let status = rig.status();
    assert_eq!(status["trouble"], serde_json::Value::Null, "{status}");
    assert_eq!(status["rows"], status["registry_rows"], "{status}");
    assert!(status["lag_seconds"].as_f64().unwrap() < 2.0, "{status}");
}

/// From before the change at the registry until the notification in the cell, sorted.
fn times(registry: String, cell: String) -> Vec<Duration> {
    block_on(async move {
        let mut listener = PgListener::connect(&cell).await.unwrap();
        listener.listen("sluice_invalidate").await.unwrap();
        let mut changer = PgConnection::connect(&registry).await.unwrap();
        let mut took = Vec::new();
        for _ in 0..CHANGES {
            let started_at = Instant::now();
            changer
                .execute("UPDATE devices SET site_id = 'x' WHERE device_id = 'pump-7'")
                .await
                .unwrap();
            let heard = listener.recv().await.unwrap();
            assert_eq!(heard.payload(), "acme/device/pump-7");
            took.push(started_at.elapsed());
        }
        took.sort();
        took
    })
}

fn a_mass_change_is_few_notifications(rig: &CellRig<'_>) {
    let (registry, cell) = (rig.registry.url(), rig.cell.url());
    let (few, whole, tenants) = block_on(async move {
        let mut listener = PgListener::connect(&cell).await.unwrap();
        listener.listen("sluice_invalidate").await.unwrap();
        let mut changer = PgConnection::connect(&registry).await.unwrap();
        let add = "INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'many-' || i FROM generate_series(1, 5000) i";
        changer.execute(add).await.unwrap();
        let (mut few, mut whole) = (0, 0);
        // The last one of all: a change of its own.
        changer.execute("UPDATE tenants SET name = 'A' WHERE tenant_id = 'acme'").await.unwrap();
        while whole < 2 {
            few += 1;
            whole += usize::from(listener.recv().await.unwrap().payload() == "acme/*");
        }
        let add = "INSERT INTO tenants (tenant_id, name) SELECT 'many-' || i, '' FROM generate_series(1, 500) i";
        changer.execute(add).await.unwrap();
        changer.execute("UPDATE tenants SET name = 'B' WHERE tenant_id = 'acme'").await.unwrap();
        let mut tenants = 0;
        while listener.recv().await.unwrap().payload() != "acme/*" {
            tenants += 1;
        }
        (few, whole, tenants)
    });
    assert!(few <= 110 && whole == 2, "{few} notifications");
    assert_eq!(tenants, 101, "each of 100, and one of all");
    rig.registry.query("DELETE FROM devices WHERE device_id LIKE 'many-%'");
    rig.registry.query("DELETE FROM tenants WHERE tenant_id LIKE 'many-%'");
    rig.wait_equal("SELECT count(*) FROM tenants");
    rig.wait_equal("SELECT count(*) FROM devices");
}

fn a_revocation_begins_its_steps(rig: &CellRig<'_>) {
    let sql = "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, \
        issuer, not_before, not_after) VALUES (gen_random_uuid(), 'acme', 'pump-8', repeat('a', 64), '0a', \
        'acme/device/pump-8', 'CN=north', now() - interval '1 h', now() + interval '1 day')";
    rig.registry.query(sql);
    rig.wait_equal("SELECT * FROM device_certificates");
    rig.registry.query("UPDATE device_certificates SET status = 'REVOKED', revoked_at = now() WHERE device_id = 'pump-8'");
    rig.wait_equal("SELECT * FROM revoked_certificates");
    rig.cell
        .wait_until("SELECT count(*) FROM certificate_revocations WHERE proven_at IS NULL", "1");
}

fn what_the_cell_keeps_goes_with_a_device(rig: &CellRig<'_>) {
    rig.registry.query("INSERT INTO tenants (tenant_id, name) VALUES ('short', 'Short')");
    rig.wait_equal("SELECT count(*) FROM tenants");
    rig.cell.query(
        "INSERT INTO device_state (tenant_id, device_id, last_seen_at) VALUES ('acme', 'pump-9', now()); \
         INSERT INTO operators (name, role, tenant_id, token_sha256) VALUES ('eve', 'viewer', 'short', sha256('x'))",
    );
    rig.registry.query("DELETE FROM devices WHERE device_id = 'pump-9'; DELETE FROM tenants WHERE tenant_id = 'short'");
    rig.cell.wait_until("SELECT count(*) FROM operators", "0");
    rig.cell.wait_until("SELECT count(*) FROM device_state WHERE device_id = 'pump-9'", "0");
}

#[test]
fn a_daemon_in_a_cell_decides_by_the_registry_and_changes_nothing_of_it() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    rig.join();
    let broker = Mosquitto::start(MosquittoOptions::default());
    // A cell registers no device by itself, and stores on.
    let daemon_settings =
        rig.daemon_settings(&broker).set("AUTO_PROVISION", "1").set("CERT_AUTH_ENABLED", "0");
    let daemon = daemon_settings.start();
    daemon.wait_ready();
    let mut device = Device::connect(broker.port(), "device");
    for name in ["pump-1", "pump-2", "stranger"] {
        device.publish(&format!("tenant/acme/device/{name}/telemetry"), "{\"metrics\":{\"t\":1}}");
    }
    rig.cell.wait_until("SELECT count(*) FROM telemetry", "2");
    rig.cell.wait_until(
        "SELECT count(*) FROM quarantine_events WHERE reason = 'UNREGISTERED_DEVICE'",
        "1",
    );
    let began_at = Instant::now();
    rig.registry.query("UPDATE devices SET status = 'REVOKED' WHERE device_id = 'pump-1'");
    let refused = "SELECT count(*) > 0 FROM quarantine_events WHERE reason = 'DEVICE_REVOKED'";
    wait::within(Duration::from_secs(10), "the revoked device is refused", || {
        device.publish("tenant/acme/device/pump-1/telemetry", "{\"metrics\":{\"t\":2}}");
        if rig.cell.value(refused) == "t" { Ok(()) } else { Err("it is not".to_owned()) }
    });
    eprintln!("revoked at the registry and refused in the cell: {:?}", began_at.elapsed());
    let sentence = "the registry is read-only in cell north: change it at the registry, 127.0.0.1:";
    for line in [
        &["device", "add", "acme", "new"][..],
        &["tenant", "add", "other"],
        &["device", "set-status", "acme", "pump-2", "INACTIVE"],
        &["enrol", "add", "acme", "--device", "pump-2"],
    ] {
        let output = rig.settings.command(line).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(sentence), "{line:?}: {output:?}");
    }
    let answer = ask(
        daemon_settings.port("HTTP_BIND"),
        "DELETE",
        "/api/v1/tenants/acme/devices/pump-2",
        "Host: localhost\r\nAuthorization: Bearer admin-token-of-the-tests-0123456789\r\n",
        b"",
    );
    assert!(answer.problem(409, "conflict").to_string().contains(sentence));
    let by_hand = rig.cell.try_query("DELETE FROM devices").unwrap_err().to_string();
    assert!(by_hand.contains(sentence), "{by_hand}");
    let emptied = rig.registry.try_query("TRUNCATE devices CASCADE").unwrap_err().to_string();
    assert!(emptied.contains("use DELETE"), "{emptied}");
    assert!(daemon.metric("sluice_registry_connected") > 0.0);
    assert!(!daemon.log().contains(PASSWORD));
}
