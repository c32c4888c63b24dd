//! The registry goes away, and its slot too: the cell stores on, and says what it does not know.

use std::time::Duration;

use super::cell_rig::{CellRig, Servers};
use crate::support::daemon::Daemon;
use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;

#[test]
fn a_cell_stores_on_without_its_registry_and_catches_up_after() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    rig.join();
    let broker = Mosquitto::start(MosquittoOptions::default());
    let daemon = rig.daemon_settings(&broker).start();
    daemon.wait_ready();
    wait::until("the cell sees its registry", || daemon.metric("sluice_registry_connected") > 0.0);
    assert!(daemon.metric("sluice_cell") > 0.0);
    servers.registry.stop();
    let mut device = Device::connect(broker.port(), "device");
    device.publish("tenant/acme/device/pump-3/telemetry", "{\"metrics\":{\"t\":1}}");
    rig.cell.wait_until("SELECT count(*) FROM telemetry", "1");
    wait::until("the lag grows", || daemon.metric("sluice_registry_lag_seconds") > 6.0);
    assert_eq!(daemon.metric("sluice_registry_connected").to_bits(), 0.0_f64.to_bits());
    daemon.wait_ready();
    let status = rig.status();
    assert!(
        status["trouble"].as_str().unwrap().contains("cannot connect to the registry"),
        "{status}"
    );
    let why = rig.refused(&["leave", "--yes"]);
    assert!(why.contains("--force"), "{why}");
    let doctor = CellRig::doctor(&rig.settings);
    assert!(doctor.contains("this cell decides by its copy"), "{doctor}");
    servers.registry.start();
    rig.registry.query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'after')");
    rig.wait_equal("SELECT * FROM devices ORDER BY 1, 2");
    wait::until("the lag is gone", || daemon.metric("sluice_registry_lag_seconds") < 2.0);
    the_slot_is_dropped(&rig, &daemon);
}

fn the_slot_is_dropped(rig: &CellRig<'_>, daemon: &Daemon) {
    let registry = rig.settings.clone().set("DATABASE_URL", &rig.registry.url());
    let seen =
        String::from_utf8(registry.command(&["cell", "status"]).output().unwrap().stdout).unwrap();
    assert!(seen.contains("north"), "{seen}");
    let drop = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots; \
        SELECT pg_drop_replication_slot('sluice_north')";
    wait::until("the slot is dropped", || rig.registry.try_query(drop).is_ok());
    // At the next sign of life, and not only when the copy is 30 s behind.
    wait::within(Duration::from_secs(20), "the cell says so", || {
        let text = daemon.get("/readyz").unwrap().1;
        if text.contains("does not exist any longer") { Ok(()) } else { Err(text) }
    });
    let status = rig.status();
    let trouble = status["trouble"].as_str().unwrap();
    assert!(
        trouble.contains("does not exist any longer") && trouble.contains("--replace"),
        "{status}"
    );
    assert!(CellRig::doctor(&rig.settings).contains("the slot does not exist any longer"));
    rig.done(&["leave", "--yes"]);
    rig.done(&["join", "north", "--replace", "--yes", "--wait", "60"]);
    rig.wait_equal("SELECT * FROM devices ORDER BY 1, 2");
}
