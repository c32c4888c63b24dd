//! A registry that was restored to an older state while the subscription of a cell goes on: the cell
//! notices and says so. A restart and a promotion, which lose nothing, are no such thing.

use std::time::Instant;

use super::cell_rig::{CellRig, Servers};
use crate::support::daemon::Daemon;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;

const DEVICES: &str = "SELECT * FROM devices ORDER BY 1, 2";
const REVOKE: &str = "UPDATE devices SET status = 'REVOKED' WHERE device_id = 'pump-3'";
/// The last sign of life of the cell, on either side.
const SEEN: &str = "SELECT seen_at FROM cells";
/// The sentence in readiness, `status` and the doctor.
const OLDER: &str = "is older than the copy here";

fn is_older(daemon: &Daemon) -> bool {
    daemon.metric("sluice_registry_older") > 0.0
}

/// Waits until the watch of the cell has written, and got back, another sign of life.
fn wait_for_a_sign_of_life(rig: &CellRig<'_>) {
    let before = rig.registry.value(SEEN);
    wait::until("a sign of life comes back", || {
        let (here, there) = (rig.cell.value(SEEN), rig.registry.value(SEEN));
        there != before && here == there
    });
}

fn ready_text(daemon: &Daemon) -> String {
    daemon.get("/readyz").unwrap().1
}

#[test]
fn a_restored_registry_whose_slot_is_there_is_noticed_and_a_restart_is_not() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    rig.join();
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = rig.daemon_settings(&broker);
    let daemon = settings.start();
    daemon.wait_ready();
    wait_for_a_sign_of_life(&rig);
    servers.registry.stop();
    servers.registry.back_up();
    servers.registry.start();
    rig.registry.query(REVOKE);
    rig.wait_equal(DEVICES);
    wait_for_a_sign_of_life(&rig);
    wait_for_a_sign_of_life(&rig);
    assert!(!is_older(&daemon) && !ready_text(&daemon).contains(OLDER), "it was a restart");

    servers.registry.stop();
    servers.registry.restore();
    servers.registry.start();
    let began_at = Instant::now();
    wait::until("the cell notices", || ready_text(&daemon).contains(OLDER));
    assert!(is_older(&daemon), "the metric is set before the text");
    eprintln!("a restored registry is noticed after {:?}", began_at.elapsed());
    assert_eq!(rig.slots(), [["sluice_north"]], "the subscription goes on");
    let text = ready_text(&daemon);
    assert!(text.contains(OLDER) && text.contains("its last sign of life"), "{text}");
    let forgotten = rig.registry.value(SEEN);
    let status = rig.status();
    assert!(status["trouble"].as_str().unwrap().contains(OLDER), "{status}");
    assert!(status["lag_seconds"].is_null(), "{status}");
    let doctor = CellRig::doctor(&rig.settings);
    assert!(doctor.contains(OLDER) && doctor.contains("make up at the registry"), "{doctor}");
    assert_eq!(rig.registry.value(SEEN), forgotten, "nothing hides it");

    // The cell joins again only when nothing of its copy is lost.
    daemon.terminate();
    rig.done(&["leave", "--force", "--yes"]);
    let join = ["join", "north", "--replace", "--yes", "--wait", "60"];
    let why = rig.refused(&join);
    assert!(why.contains("acme/pump-3"), "{why}");
    rig.registry.query(REVOKE);
    rig.done(&join);
    rig.wait_equal(DEVICES);
    let daemon = settings.start();
    daemon.wait_ready();
    wait_for_a_sign_of_life(&rig);
    assert!(!is_older(&daemon) && !ready_text(&daemon).contains(OLDER));
}

#[test]
fn a_registry_that_was_restored_while_no_sluice_of_the_cell_ran_is_noticed_by_its_rows() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    rig.join();
    servers.registry.stop();
    servers.registry.back_up();
    servers.registry.start();
    rig.registry.query(REVOKE);
    rig.wait_equal(DEVICES);
    servers.registry.stop();
    servers.registry.restore();
    servers.registry.start();
    assert_eq!(rig.cell.value(SEEN), rig.registry.value(SEEN), "no sign of life shows it");

    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = rig.daemon_settings(&broker);
    let daemon = settings.start();
    daemon.wait_ready();
    let devices = "devices that changed later in the copy here";
    wait::until("the cell notices", || ready_text(&daemon).contains(devices));
    assert!(is_older(&daemon), "the metric is set before the text");
    rig.cell.wait_until("SELECT older_registry LIKE '%acme/pump-3' FROM cell", "t");
    let trouble = rig.status()["trouble"].to_string();
    assert!(trouble.contains("acme/pump-3"), "{trouble}");

    // A later change of the row there removes the evidence, and not the note.
    rig.registry.query("UPDATE devices SET site_id = 'x' WHERE device_id = 'pump-3'");
    daemon.terminate();
    let daemon = settings.start();
    daemon.wait_ready();
    wait::until("the cell has not forgotten", || is_older(&daemon));
    daemon.terminate();
    assert!(CellRig::doctor(&rig.settings).contains(OLDER), "by the note alone");
    rig.done(&["leave", "--force", "--yes"]);
    rig.done(&["join", "north", "--replace", "--yes", "--wait", "60"]);
    rig.wait_equal(DEVICES);
    assert_eq!(rig.cell.value("SELECT older_registry FROM cell"), "NULL");
}

#[test]
fn a_promotion_that_loses_nothing_and_a_deletion_on_its_way_are_no_restored_registry() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    rig.join();
    rig.registry.query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'last')");
    rig.wait_equal(DEVICES);
    let broker = Mosquitto::start(MosquittoOptions::default());
    let daemon = rig.daemon_settings(&broker).start();
    daemon.wait_ready();
    wait_for_a_sign_of_life(&rig);
    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    let before = rig.registry.value(timeline);
    servers.registry.stop();
    servers.registry.start_promoted();
    rig.registry.query("CHECKPOINT");
    assert_ne!(rig.registry.value(timeline), before);
    rig.registry.query(REVOKE);
    rig.wait_equal(DEVICES);
    wait_for_a_sign_of_life(&rig);
    wait_for_a_sign_of_life(&rig);
    assert!(!is_older(&daemon) && !ready_text(&daemon).contains(OLDER));

    // As if the clock of the registry had stepped back by an hour.
    rig.registry.query("UPDATE cells SET seen_at = seen_at + interval '1 hour'");
    rig.wait_equal(SEEN);
    wait_for_a_sign_of_life(&rig);
    assert!(!is_older(&daemon) && !ready_text(&daemon).contains(OLDER));

    // The newest change of the copy is deleted there, and is on its way.
    rig.cell.query("ALTER SUBSCRIPTION sluice_north DISABLE");
    rig.registry.query("DELETE FROM devices WHERE device_id IN ('last', 'pump-3')");
    // A new connection, which compares.
    rig.registry.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice-cell'",
    );
    wait::until("the cell has a suspicion", || is_older(&daemon));
    assert_eq!(rig.cell.value("SELECT older_registry FROM cell"), "NULL", "it is not sure");
    rig.cell.query("ALTER SUBSCRIPTION sluice_north ENABLE");
    rig.wait_equal(DEVICES);
    wait::until("the deletion has arrived", || !ready_text(&daemon).contains(OLDER));
    assert!(!is_older(&daemon), "the metric is set before the text");
    assert_eq!(rig.cell.value("SELECT older_registry FROM cell"), "NULL");
}
