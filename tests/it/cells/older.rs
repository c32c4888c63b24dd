//! A registry that was restored from a backup: a cell does not replace its copy by it unasked, because
//! what is newer in the copy would be lost, revocations first.

use super::cell_rig::{CellRig, Servers};
use crate::support::wait;

/// One certificate of the device, revoked.
fn revoked(device: &str, fingerprint: char) -> String {
    format!(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
             not_before, not_after) \
         VALUES ('00000000-0000-0000-0000-0000000000{fingerprint}{fingerprint}', 'acme', '{device}', repeat('{fingerprint}', 64), \
             '0{fingerprint}', 'acme/device/{device}', 'CN=north', now() - interval '1 h', now() + interval '1 day'); \
         UPDATE device_certificates SET status = 'REVOKED', revoked_at = now() WHERE device_id = '{device}'"
    )
}

#[test]
fn a_registry_that_is_older_than_the_copy_does_not_replace_it_unasked() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    let (name, outside) = (rig.registry.name(), servers.registry.empty_database());
    // A copy needs a database without connections.
    let copy = format!("CREATE DATABASE backup OWNER sluice TEMPLATE {name}");
    wait::until("the backup is made", || outside.try_query(&copy).is_ok());
    rig.join();
    rig.registry.query(&revoked("pump-8", 'a'));
    rig.registry.query("UPDATE devices SET status = 'REVOKED' WHERE device_id = 'pump-3'");
    rig.registry.query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'last')");
    rig.wait_equal("SELECT device_id, updated_at FROM devices ORDER BY 1");
    rig.wait_equal("SELECT certificate_id FROM revoked_certificates");
    rig.done(&["leave", "--yes"]);
    rig.done(&["join", "north", "--replace"]);
    let swap = || {
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('backup', '{}')";
        outside.try_query(&ends.replace("{}", name))?;
        outside.try_query(&format!("ALTER DATABASE {name} RENAME TO newer"))?;
        outside.try_query(&format!("ALTER DATABASE backup RENAME TO {name}"))
    };
    wait::for_ok("the backup is restored", || swap().map_err(|error| error.to_string()));

    let join = ["join", "north", "--replace", "--yes", "--wait", "60"];
    let why = rig.refused(&join);
    assert!(
        why.contains(
            "1 revocations in force that it lacks, such as that of acme/pump-8 (serial number 0a)"
        ),
        "{why}"
    );
    assert!(why.contains("--accept-older"), "{why}");
    // One that was not revoked later, so that its revocation is not the newest change.
    let row = rig.cell.value("SELECT r::text FROM revoked_certificates r");
    rig.registry.query(&format!(
        "INSERT INTO revoked_certificates SELECT ('{row}'::revoked_certificates).*"
    ));
    let why = rig.refused(&join);
    assert!(
        why.contains("1 devices that changed later in the copy here, such as acme/pump-3"),
        "{why}"
    );
    let at = rig.cell.value("SELECT updated_at FROM devices WHERE device_id = 'pump-3'");
    rig.registry.query(&format!(
        "SET session_replication_role = replica; UPDATE devices SET updated_at = '{at}' WHERE device_id = 'pump-3'"
    ));
    let why = rig.refused(&join);
    assert!(why.contains("device acme/last, changed at"), "{why}");
    assert!(rig.slots().is_empty(), "nothing was changed");
    assert_eq!(rig.cell.value("SELECT count(*) FROM devices WHERE device_id = 'last'"), "1");

    let said = rig.done(&[&join[..], &["--accept-older"]].concat());
    assert!(said.contains("Warning: the registry is older than the copy here"), "{said}");
    rig.wait_equal("SELECT device_id, updated_at FROM devices ORDER BY 1");
    let noted = "SELECT detail ->> 'accept_older' FROM audit_log WHERE action = 'cell.join' ORDER BY id DESC LIMIT 1";
    assert_eq!(rig.cell.value(noted), "true");
}
