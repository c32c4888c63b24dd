//! While the first copy of the registry is incomplete, a cell publishes no CRL: it would lack
//! revocations, and the broker would let revoked devices in.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::cell_rig::{CellRig, Servers};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::process::run_to_end;
use crate::support::wait;

/// Each round of the publisher reads this table twice, and nothing else does.
const READS: &str =
    "SELECT seq_scan + idx_scan FROM pg_stat_all_tables WHERE relname = 'crl_state'";

#[test]
fn a_cell_publishes_no_crl_before_it_has_all_revocations() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    let path = |name: &str| rig.settings.dir().path().join(name).to_str().unwrap().to_owned();
    let cell = rig
        .settings
        .clone()
        .set("DEVICE_CA_CERT_PATH", &path("ca.crt"))
        .set("DEVICE_CA_KEY_PATH", &path("ca.key"))
        .set("CRL_OUTPUT_PATH", &path("crl.pem"));
    cell.run(&["ca", "init"]);
    let registry = cell.clone().set("DATABASE_URL", &rig.registry.url());
    let files = [path("pump-1.key"), path("pump-1.crt")];
    let issue = ["cert", "issue", "acme", "pump-1", "--new-key", "--output", "json"];
    let out = ["--key-out", &files[0], "--out", &files[1]];
    let issued: Value = serde_json::from_str(&registry.run(&[&issue[..], &out].concat())).unwrap();
    let id = issued["id"].as_str().unwrap();
    registry.run(&["cert", "revoke", id, "--reason", "keyCompromise"]);

    // The copy of one table fails, and Postgres tries it again until it fits.
    rig.cell.query("ALTER TABLE revoked_certificates ADD CONSTRAINT later CHECK (false)");
    let joined = rig.run(&["join", "north", "--yes", "--wait", "1"]);
    assert_eq!(joined.status.code(), Some(1), "{joined:?}");
    rig.wait_equal("SELECT count(*) FROM devices");
    let before = fs::read(path("crl.pem")).unwrap();
    let other = ["--cert", &path("ca.crt"), "--key", &path("ca.key"), "--crl", &path("other.pem")];
    for line in [&["crl", "publish"][..], &[&["crl", "publish"][..], &other].concat()] {
        let refused = cell.command(line).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(69), "{line:?}: {refused:?}");
        assert!(said.contains("has not received all revocations"), "{line:?}: {said}");
    }

    let broker = Mosquitto::start(MosquittoOptions::default());
    let pid = rig.settings.dir().write("broker.pid", broker.pid().to_string());
    let daemon = cell
        .clone()
        .set("MQTT_HOST", "127.0.0.1")
        .set("MQTT_PORT", &broker.port().to_string())
        .set("BROKER_PID_FILE", pid.to_str().unwrap())
        .start();
    wait::until("it is the publisher", || daemon.log().contains("this replica publishes the CRL"));
    let reads = || rig.cell.value(READS).parse::<u64>().unwrap();
    let begun = reads();
    wait::until("the publisher has run three rounds", || reads() >= begun + 7);
    assert_eq!(rig.cell.value("SELECT crl_number FROM crl_state"), "0");
    assert_eq!(fs::read(path("crl.pem")).unwrap(), before, "the file is as it was");
    assert!(!fs::exists(path("other.pem")).unwrap());

    rig.cell.query("ALTER TABLE revoked_certificates DROP CONSTRAINT later");
    rig.wait_equal("SELECT certificate_id FROM revoked_certificates");
    wait::for_ok("the CRL lists the revocation", || {
        let crl = path("crl.pem");
        let text =
            run_to_end(Command::new("openssl").args(["crl", "-noout", "-text", "-in", &crl]));
        if text.contains("Key Compromise") { Ok(()) } else { Err(text) }
    });
}
