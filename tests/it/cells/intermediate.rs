//! An intermediate authority for each cell: Mosquitto admits the devices of its own, and the CRL of a cell
//! lists only what its own issuer revoked.

use std::process::Command;
use std::time::Duration;

use super::chain::Chain;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, TlsListener};
use crate::support::postgres::Postgres;
use crate::support::process::run_to_end;
use crate::support::wait;

#[test]
fn a_broker_admits_the_devices_of_its_own_intermediate_and_of_no_other() {
    let database = Postgres::shared().database();
    database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) \
         VALUES ('acme', 'north-1'), ('acme', 'north-2'), ('acme', 'south-1'), ('acme', 'root-1')",
    );
    let chain = Chain::new(&database.url());
    let first = chain.issue("north", "north-1");
    chain.issue("north", "north-2");
    let south = chain.issue("south", "south-1");
    chain.issue("root", "root-1");
    run_to_end(
        Command::new("openssl").args(["verify", "-crl_check", "-purpose", "sslclient"]).args([
            "-CAfile",
            &chain.path("north.crt"),
            "-CRLfile",
            &chain.path("north-crl.pem"),
            &chain.path("north-1.crt"),
        ]),
    );
    no_server_below_an_intermediate(&chain);
    let broker = Mosquitto::start(MosquittoOptions {
        tls: Some(TlsListener {
            ca: chain.path("north.crt").into(),
            certificate: chain.path("server.crt").into(),
            key: chain.path("server.key").into(),
            crl: Some(chain.path("north-crl.pem").into()),
            mutual: true,
            names_by_certificate: true,
        }),
        ..MosquittoOptions::default()
    });
    assert!(chain.connects(&broker, "north-1", None), "{}", broker.log());
    assert!(chain.connects(&broker, "north-1", Some("north-chain.crt")));
    assert!(
        !chain.connects(&broker, "south-1", Some("south-chain.crt")),
        "no CRL of its issuer is here"
    );
    assert!(!chain.connects(&broker, "root-1", None), "no CRL of the root is here");
    the_crl_of_a_cell_lists_its_own(&chain, &broker, &first, &south);
}

/// The key of a cell signs clients only.
fn no_server_below_an_intermediate(chain: &Chain) {
    let extensions = chain.settings.dir().write("server.ext", "subjectAltName=DNS:localhost\n");
    let path = |name: &str| chain.path(name);
    run_to_end(
        Command::new("openssl")
            .args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args([
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-keyout",
                &path("fake.key"),
                "-out",
                &path("fake.csr"),
            ]),
    );
    run_to_end(
        Command::new("openssl")
            .args([
                "x509",
                "-req",
                "-in",
                &path("fake.csr"),
                "-CA",
                &path("north.crt"),
                "-days",
                "2",
            ])
            .args([
                "-CAkey",
                &path("north.key"),
                "-CAcreateserial",
                "-out",
                &path("fake.crt"),
                "-extfile",
            ])
            .arg(extensions),
    );
    let verified = Command::new("openssl")
        .args(["verify", "-CAfile", &path("north.crt"), &path("fake.crt")])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&verified.stderr).contains("excluded subtree"), "{verified:?}");
}

fn the_crl_of_a_cell_lists_its_own(chain: &Chain, broker: &Mosquitto, first: &str, south: &str) {
    let pid = chain.settings.dir().write("broker.pid", broker.pid().to_string());
    let daemon = chain
        .signer("north")
        .set("MQTT_HOST", "127.0.0.1")
        .set("MQTT_PORT", &broker.port().to_string())
        .set("CERT_AUTH_ENABLED", "1")
        .set("CRL_OUTPUT_PATH", &chain.path("north-crl.pem"))
        .set("BROKER_PID_FILE", pid.to_str().unwrap())
        .set("BROKER_PROBE_ADDR", &format!("localhost:{}", broker.tls_port()))
        .set("BROKER_PROBE_CA_CERT", &chain.path("server-ca.crt"))
        .start();
    daemon.wait_ready();
    chain.signer("south").run(&["cert", "revoke", south, "--reason", "keyCompromise"]);
    let wait = ["--wait", "--timeout", "60"];
    chain
        .signer("north")
        .run(&[&["cert", "revoke", first, "--reason", "keyCompromise"][..], &wait].concat());
    assert!(!chain.connects(broker, "north-1", None));
    wait::within(Duration::from_secs(20), "another device of the cell connects", || {
        if chain.connects(broker, "north-2", None) { Ok(()) } else { Err(broker.log()) }
    });
    let list = run_to_end(Command::new("openssl").args([
        "crl",
        "-noout",
        "-text",
        "-in",
        &chain.path("north-crl.pem"),
    ]));
    // One device, and the probe certificates of the lists so far.
    let compromised = list.matches("Key Compromise").count();
    assert!(list.contains("Cell north") && compromised == 1, "{list}");
}
