//! The password of the registry: a URL that libpq would misread is refused, and a statement that fails
//! leaves it in no log.

use super::cell_rig::{CellRig, Servers};
use crate::support::postgres::PASSWORD;

/// The beginning of a password that a URL does not encode.
const SECRET: &str = "hush";

#[test]
fn a_url_with_a_wrong_escape_is_refused_on_each_surface_without_the_password() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    let raw = format!("{SECRET}%zz{SECRET}");
    rig.registry.query(&format!("ALTER ROLE sluice PASSWORD '{raw}'"));
    let url = rig.registry.url().replace(PASSWORD, &raw);
    rig.settings.dir().write("registry.url", url);
    let output = rig.run(&["join", "north", "--yes"]);
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(why.contains("REGISTRY_URL has a special character"), "{why}");
    assert!(!why.contains(SECRET), "{why}");
    let encoded = rig.registry.url().replace(PASSWORD, &raw.replace('%', "%25"));
    rig.settings.dir().write("registry.url", encoded);
    rig.join();
    rig.wait_equal("SELECT * FROM devices ORDER BY 1, 2");
    for bad in ["hush%zz", "12/hush", "hu@sh", "hush#1"] {
        let url = rig.registry.url().replace(PASSWORD, bad);
        rig.settings.dir().write("registry.url", url);
        for line in [&["cell", "status"][..], &["doctor"], &["cell", "leave", "--yes"]] {
            let output = rig.settings.command(line).output().unwrap();
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            let said = said.concat();
            assert!(!said.contains("hu") && !said.contains("12:"), "{line:?}, {bad}: {said}");
            assert!(said.contains("REGISTRY_URL"), "{line:?}, {bad}: {said}");
        }
    }
    let logs = servers.cell.log() + &servers.registry.log();
    assert!(!logs.contains(SECRET), "a server's log has the password");
}

#[test]
fn a_join_that_fails_at_its_last_statement_leaves_the_password_in_no_log() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    rig.cell.query(
        "CREATE SUBSCRIPTION sluice_north CONNECTION 'host=nowhere' PUBLICATION other \
         WITH (connect = false, slot_name = NONE)",
    );
    let output = rig.run(&["join", "north", "--yes"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("subscription \"sluice_north\" already exists"), "{said}");
    assert!(rig.slots().is_empty(), "what was done at the registry is undone");
    let log = servers.cell.log();
    assert!(
        !log.contains(PASSWORD) && !log.contains("CREATE SUBSCRIPTION sluice_north CONNECTION 'p"),
        "{log}"
    );
    rig.cell.query("DROP SUBSCRIPTION sluice_north");
    rig.join();
}
