//! A cell that is away for longer than `max_slot_wal_keep_size` allows: the registry keeps its bound, both
//! sides say that the slot is lost, and joining again repairs it.

use super::cell_rig::{CellRig, Servers};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;

const DEVICES: &str = "SELECT * FROM devices ORDER BY 1, 2";
/// What is said of the slot.
const LOST: &str = "has removed WAL that the cell needs (max_slot_wal_keep_size)";
/// Files of 16 MB that the registry writes while the cell is away, and the most it then keeps: the bound,
/// those in use, and what a checkpoint recycles.
const WRITTEN: usize = 12;
const KEPT_AT_MOST: usize = 8;

#[test]
fn a_cell_that_is_away_for_too_long_loses_its_slot_and_both_sides_say_so() {
    let servers = Servers::keeping("32MB");
    let rig = CellRig::new(&servers);
    rig.join();
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = rig.registry_settings(&broker);
    let daemon = settings.start();
    daemon.wait_ready();
    let slot_ok = || daemon.metric("sluice_cell_slot_ok{cell=\"north\"}");
    wait::until("the registry sees its cell", || slot_ok() > 0.0);

    servers.cell.stop();
    rig.registry.query("ALTER SYSTEM SET max_wal_size = '32MB'");
    rig.registry.query("ALTER SYSTEM SET min_wal_size = '32MB'");
    rig.registry.query("SELECT pg_reload_conf()");
    for number in 0..WRITTEN {
        rig.registry.query(&format!(
            "INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'late-{number}')"
        ));
        rig.registry.query("SELECT pg_switch_wal()");
        rig.registry.query("CHECKPOINT");
    }
    rig.registry.wait_until("SELECT wal_status FROM pg_replication_slots", "lost");
    rig.registry.query("CHECKPOINT");
    let kept: usize = rig.registry.value("SELECT count(*) FROM pg_ls_waldir()").parse().unwrap();
    assert!(kept <= KEPT_AT_MOST, "the bound holds: {kept} files of WAL");
    wait::until("the metric of the registry says so", || slot_ok().to_bits() == 0);
    let text = daemon.get("/readyz").unwrap().1;
    assert!(text.contains(&format!("cell north: the registry {LOST}")), "{text}");
    let status = settings.command(&["cell", "status"]).output().unwrap();
    let said = String::from_utf8([status.stdout, status.stderr].concat()).unwrap();
    assert!(status.status.code() == Some(1) && said.contains(LOST), "{said}");
    assert!(CellRig::doctor(&settings).contains(LOST));

    servers.cell.start();
    let status = rig.status();
    let trouble = status["trouble"].as_str().unwrap();
    assert!(trouble.contains(LOST) && trouble.contains("--replace"), "{status}");
    assert!(CellRig::doctor(&rig.settings).contains(LOST));
    let own_broker = Mosquitto::start(MosquittoOptions::default());
    let own = rig.daemon_settings(&own_broker).start();
    own.wait_ready();
    wait::until("the readiness of the cell says so", || {
        own.get("/readyz").unwrap().1.contains(LOST)
    });
    assert_eq!(rig.cell.value("SELECT count(*) FROM devices WHERE device_id LIKE 'late-%'"), "0");
    own.terminate();
    rig.done(&["leave", "--force", "--yes"]);
    rig.done(&["join", "north", "--replace", "--yes", "--wait", "60"]);
    rig.wait_equal(DEVICES);
    wait::until("the registry sees its cell", || slot_ok() > 0.0);
    wait::until("the registry is well", || !daemon.get("/readyz").unwrap().1.contains(LOST));
    assert_eq!(rig.status()["trouble"], serde_json::Value::Null);
}
