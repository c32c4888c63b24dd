//! What a join refuses, each with its sentence; and how a cell leaves.

use super::cell_rig::{CellRig, Servers};
use crate::support::postgres::Postgres;

#[test]
fn a_join_refuses_what_would_overwrite_rows_or_never_work() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    let join = ["join", "north"];
    rig.registry.query("ALTER ROLE sluice NOREPLICATION");
    assert!(rig.refused(&join).contains("ALTER ROLE sluice REPLICATION"));
    rig.registry.query("ALTER ROLE sluice REPLICATION");
    rig.registry.query("ALTER TABLE devices FORCE ROW LEVEL SECURITY");
    assert!(rig.refused(&join).contains("BYPASSRLS"));
    rig.registry.query("ALTER TABLE devices NO FORCE ROW LEVEL SECURITY");
    rig.registry.query("SELECT pg_create_logical_replication_slot('sluice_north', 'pgoutput')");
    assert!(rig.refused(&join).contains("has a slot for cell north"));
    rig.registry.query("SELECT pg_drop_replication_slot('sluice_north')");
    rig.cell.query("INSERT INTO tenants (tenant_id, name) VALUES ('own', 'Own')");
    let why = rig.refused(&["join", "north", "--yes"]);
    assert!(why.contains("tenants (1 rows here, 1 there)"), "{why}");
    assert!(rig.refused(&["join", "north", "--replace"]).contains("no such copy"));
    let own = rig.settings.command(&["cell", "join", "north"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&own.stderr).contains("may not create a subscription"),
        "{own:?}"
    );
    let named = rig.settings.command(&["cell", "join", "North"]).output().unwrap();
    assert_eq!(named.status.code(), Some(64), "{named:?}");
    assert!(rig.refused(&["status"]).contains("is no cell"));
    assert!(rig.slots().is_empty() && rig.cell.value("SELECT count(*) FROM cell") == "0");
    the_registry_does_not_join_itself(&rig, &servers);
    let plain = Postgres::shared().database();
    let url = rig.settings.dir().write("plain.url", plain.url());
    let settings = rig.settings.clone().set("REGISTRY_URL_FILE", url.to_str().unwrap());
    let other = settings.command(&["cell", "join", "north"]).output().unwrap();
    assert!(String::from_utf8_lossy(&other.stderr).contains("wal_level is replica"), "{other:?}");
}

fn the_registry_does_not_join_itself(rig: &CellRig<'_>, servers: &Servers) {
    let (socket, port) = (servers.registry.socket_dir().display(), servers.registry.port());
    let admin =
        format!("postgres://postgres@localhost:{port}/{}?host={socket}", rig.registry.name());
    let admin = rig.settings.dir().write("registry_admin.url", admin);
    let settings = rig.settings.clone().set("DATABASE_URL", &rig.registry.url());
    let line = ["cell", "join", "north", "--admin-url-file", admin.to_str().unwrap()];
    let output = settings.command(&line).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("names the database of this cell itself"), "{said}");
}

#[test]
fn equal_rows_join_without_a_copy_and_a_cell_leaves_and_comes_back() {
    let servers = Servers::keeping("-1");
    let rig = CellRig::new(&servers);
    let unbounded = "max_slot_wal_keep_size is -1";
    let why = rig.refused(&["join", "north", "--yes"]);
    assert!(why.contains(unbounded) && why.contains("--accept-unbounded"), "{why}");
    let join = ["join", "north", "--accept-unbounded"];
    assert!(rig.done(&[&join[..], &["--yes", "--wait", "60"]].concat()).contains(unbounded));
    let registry = rig.settings.clone().set("DATABASE_URL", &rig.registry.url());
    assert!(CellRig::doctor(&registry).contains(unbounded));
    assert!(rig.refused(&["join", "south"]).contains("is cell north already"));
    rig.wait_equal("SELECT * FROM devices ORDER BY 1, 2");
    rig.done(&["leave", "--yes"]);
    assert!(rig.slots().is_empty());
    assert_eq!(rig.registry.value("SELECT count(*) FROM cells"), "0");
    let shown = rig.done(&join);
    assert!(shown.contains("copy_data = false"), "the rows are equal: {shown}");
    rig.done(&[&join[..], &["--yes", "--wait", "60"]].concat());
    rig.registry.query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'late')");
    rig.wait_equal("SELECT * FROM devices ORDER BY 1, 2");
    assert_eq!(
        rig.cell.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cell\\_%'"),
        "14"
    );
    rig.done(&["leave", "--yes"]);
    assert_eq!(rig.cell.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cell\\_%'"), "0");
    rig.cell.query("DELETE FROM devices WHERE device_id = 'late'");
    assert!(rig.refused(&join).contains("51 there"));
    rig.done(&[&join[..], &["--replace", "--yes", "--wait", "60"]].concat());
    rig.wait_equal("SELECT * FROM devices ORDER BY 1, 2");
    let left = "SELECT actor LIKE 'cli:%' FROM audit_log WHERE action = 'cell.leave' LIMIT 1";
    assert_eq!(rig.cell.value(left), "t");
}
