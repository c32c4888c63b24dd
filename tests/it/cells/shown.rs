//! What the API and the console show of cells: at the registry its cells and their authorities, in a cell
//! its copy, and why it changes nothing.

use serde_json::{Value, json};

use super::cell_rig::{CellRig, Servers};
use super::chain::Chain;
use crate::api::client::TOKEN;
use crate::console::browser::Browser;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;

#[test]
fn the_registry_shows_its_cells_and_a_cell_its_copy() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    let chain = Chain::new(&rig.registry.url());
    let authorities = chain.settings.dir().path().join("cells");
    std::fs::create_dir(&authorities).unwrap();
    for suffix in [".crt", ".key"] {
        let name = format!("north{suffix}");
        std::fs::copy(chain.path(&name), authorities.join(&name)).unwrap();
    }
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = rig
        .registry_settings(&broker)
        .set("ADMIN_TOKEN", TOKEN)
        .set("CONSOLE", "1")
        .set("DEVICE_CA_CERT_PATH", &chain.path("root.crt"))
        .set("DEVICE_CA_KEY_PATH", &chain.path("root.key"))
        .set("CELL_AUTHORITIES_DIR", authorities.to_str().unwrap());
    let registry = settings.start();
    registry.wait_ready();
    let admin = Browser::signed_in(settings.port("HTTP_BIND"), TOKEN);
    let alone = admin.api("GET", "/cells", None).ok(200);
    assert_eq!(
        (&alone["role"], &alone["cells"], &alone["copy"]),
        (&json!("alone"), &json!([]), &Value::Null)
    );
    assert!(admin.get("/console/cells").page().contains("its own registry, without cells"));

    rig.join();
    let own_broker = Mosquitto::start(MosquittoOptions::default());
    let own = rig.daemon_settings(&own_broker).set("ADMIN_TOKEN", TOKEN).set("CONSOLE", "1");
    let cell = own.start();
    cell.wait_ready();
    wait::until("the cell sees its registry", || cell.metric("sluice_registry_connected") > 0.0);
    let seen = admin.api("GET", "/cells", None).ok(200);
    let north = &seen["cells"][0];
    assert_eq!(seen["role"], "registry", "{seen}");
    assert_eq!((&north["cell"], &north["connected"]), (&json!("north"), &json!(true)), "{seen}");
    assert_eq!((&north["wal_status"], &north["slot_fault"]), (&json!("reserved"), &Value::Null));
    assert!(north["seen_seconds"].as_f64().unwrap() < 60.0, "{seen}");
    let authority = &seen["authorities"][0];
    assert!(authority["name"] == "north" && authority["not_after"].is_string(), "{seen}");
    let page = admin.get("/console/cells").page();
    for text in ["north", "connected", "Authorities of the cells", "sluice cell status"] {
        assert!(page.contains(text), "{text} is missing from\n{page}");
    }
    a_code_names_the_authority(&admin, &rig);
    the_cell_shows_its_copy(&Browser::signed_in(own.port("HTTP_BIND"), TOKEN));
    the_registry_shows_a_cell_that_is_gone(&rig, &admin);
}

fn a_code_names_the_authority(admin: &Browser, rig: &CellRig<'_>) {
    let form = admin.get("/console/enrolment-codes?tenant=acme").page();
    assert!(form.contains("<option value=\"north\">"), "{form}");
    let fields = [("tenant", "acme"), ("device", "pump-*"), ("authority", "north")];
    admin.post("/console/enrolment-codes", &fields).page();
    assert_eq!(rig.registry.value("SELECT authority FROM enrolment_codes"), "north");
    let fields = [("tenant", "acme"), ("device", "pump-1"), ("authority", "")];
    admin.post("/console/enrolment-codes", &fields).page();
    let own = "SELECT count(*) FROM enrolment_codes WHERE authority IS NULL";
    assert_eq!(rig.registry.value(own), "1");
}

fn the_cell_shows_its_copy(person: &Browser) {
    let seen = person.api("GET", "/cells", None).ok(200);
    let copy = &seen["copy"];
    assert_eq!((&seen["role"], &copy["cell"]), (&json!("cell"), &json!("north")), "{seen}");
    assert!(copy["registry"].as_str().unwrap().starts_with("127.0.0.1:"), "{seen}");
    assert!(copy["connected"] == true && copy["trouble"].is_null(), "{seen}");
    assert!(copy["lag_seconds"].as_f64().unwrap() < 10.0, "{seen}");
    let page = person.get("/console/cells").page();
    assert!(page.contains("This is cell north") && page.contains("read-only here"), "{page}");
    let order = json!({ "name": "vera", "role": "viewer", "tenant": "acme" });
    let made = person.api("POST", "/operators", Some(&order)).ok(201);
    let bound = Browser::signed_in(person.port, made["token"].as_str().unwrap());
    bound.api("GET", "/cells", None).problem(403, "forbidden");
    assert!(bound.get("/console/cells").page().contains("Cells serve all tenants"));
    // A button that changes the registry is refused with the name of the cell.
    let order = [("tenant", "acme"), ("device", "pump-1")];
    let refused = person.post("/console/enrolment-codes", &order);
    let said = refused.text();
    assert!(said.contains("the registry is read-only in cell north"), "{}: {said}", refused.status);
}

fn the_registry_shows_a_cell_that_is_gone(rig: &CellRig<'_>, admin: &Browser) {
    let drop = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots; \
        SELECT pg_drop_replication_slot('sluice_north')";
    wait::until("the slot is dropped", || rig.registry.try_query(drop).is_ok());
    let seen = admin.api("GET", "/cells", None).ok(200);
    let north = &seen["cells"][0];
    assert_eq!(north["slot_fault"], "the slot does not exist any longer", "{seen}");
    let page = admin.get("/console/cells").page();
    assert!(page.contains("must join again") && page.contains("no slot"), "{page}");
    // A slot of this name in another database is not the cell's: this one was restored beside it.
    let elsewhere = "SELECT pg_create_logical_replication_slot('sluice_north', 'pgoutput')";
    rig.registry_elsewhere(elsewhere);
    let seen = admin.api("GET", "/cells", None).ok(200);
    assert_eq!(seen["cells"][0]["slot_fault"], north["slot_fault"], "{seen}");
}
