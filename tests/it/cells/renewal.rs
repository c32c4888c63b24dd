//! The devices of cells renew at the registry: the authority that issued a certificate signs its successor,
//! and the cell accepts it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::cell_rig::{CellRig, Servers};
use super::chain::Chain;
use crate::api::client::{Client, TOKEN};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, TlsListener};
use crate::support::postgres::Postgres;
use crate::support::process::{find_program, run_to_end};
use crate::support::{port, wait};

const NORTH: &str = "CN=Cell north";
const SOUTH: &str = "CN=Cell south";

/// The registry's Sluice, with an EST listener and a broker of its own.
struct Registry<'a> {
    chain: Chain,
    settings: Settings,
    database: &'a Database<'a>,
    daemon: Daemon,
    broker: Mosquitto,
}

// === impl Registry ===

impl<'a> Registry<'a> {
    /// With the authorities of these cells.
    fn start(database: &'a Database<'a>, cells: &[&str]) -> Self {
        let chain = Chain::new(&database.url());
        let broker = Mosquitto::start(MosquittoOptions::default());
        let mut settings = chain
            .signer("root")
            .set("CRL_OUTPUT_PATH", &chain.path("root-crl.pem"))
            .set("MQTT_HOST", "127.0.0.1")
            .set("MQTT_PORT", &broker.port().to_string())
            .set("EST_BIND", &format!("127.0.0.1:{}", port::free()))
            .set("EST_SERVER_CERT", &chain.path("server.crt"))
            .set("EST_SERVER_KEY", &chain.path("server.key"));
        for (name, value) in [
            ("DEVICE_API", "1"),
            ("CERT_RENEW_OVER_MQTT", "1"),
            ("CERT_RENEW_PROOF", "0"),
            ("ADMIN_TOKEN", TOKEN),
            ("CERT_AUTH_ENABLED", "0"),
            ("REQUIRE_TOKEN", "0"),
        ] {
            settings = settings.set(name, value);
        }
        if !cells.is_empty() {
            fs::create_dir(chain.path("cells")).unwrap();
            for cell in cells {
                add_authority(&chain, cell);
            }
            settings = settings.set("CELL_AUTHORITIES_DIR", &chain.path("cells"));
        }
        let daemon = settings.start();
        daemon.wait_ready();
        Self { chain, settings, database, daemon, broker }
    }

    fn est_url(&self) -> String {
        format!("https://localhost:{}", self.settings.port("EST_BIND"))
    }

    /// Runs curl at the EST listener: the status, and the certificates of the answer or its text.
    fn est(&self, path: &str, arguments: &[&str]) -> (String, String) {
        let output = Command::new(find_program("curl").unwrap())
            .args(["-sS", "-q", "--max-time", "50", "--cacert", "server-ca.crt", "-o", "answer"])
            .args(["-w", "%{http_code}"])
            .args(arguments)
            .arg(format!("{}/.well-known/est/{path}", self.est_url()))
            .current_dir(self.chain.settings.dir().path())
            .output()
            .unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        if status != "200" {
            return (status, fs::read_to_string(self.chain.path("answer")).unwrap_or_default());
        }
        self.openssl("base64 -d -in answer -out answer.p7");
        (status, self.openssl("pkcs7 -inform DER -in answer.p7 -print_certs"))
    }

    fn openssl(&self, line: &str) -> String {
        let dir = self.chain.settings.dir().path();
        run_to_end(Command::new("openssl").args(line.split(' ')).current_dir(dir))
    }

    /// A new key `<name>.key`, and a request for it, `<name>.csr`.
    fn request(&self, name: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout {name}.key -out {name}.csr"
        ));
    }

    /// Renews the certificate `<old>.crt` with a new key, `<new>.key`, into `<new>.crt`.
    fn renew(&self, old: &str, new: &str) -> (String, String) {
        self.request(new);
        let (cert, key) = (format!("{old}.crt"), format!("{old}.key"));
        let data = format!("@{new}.csr");
        let kind = "Content-Type: application/pkcs10";
        let wish = ["--cert", &cert, "--key", &key, "-H", kind, "--data-binary", &data];
        let (status, text) = self.est("simplereenroll", &wish);
        if status == "200" {
            self.chain.settings.dir().write(&format!("{new}.crt"), &text);
        }
        (status, text)
    }

    /// The issuer of the newest certificate of a device of acme.
    fn issuer(&self, device: &str) -> String {
        self.database.value(&format!(
            "SELECT issuer FROM device_certificates WHERE device_id = '{device}' ORDER BY created_at DESC LIMIT 1"
        ))
    }

    fn newest(&self, device: &str) -> String {
        self.database.value(&format!(
            "SELECT id::text FROM device_certificates WHERE device_id = '{device}' ORDER BY created_at DESC LIMIT 1"
        ))
    }

    /// A command that is refused as wrong usage; why.
    fn refused(&self, line: &[&str]) -> String {
        let output = self.settings.command(line).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{line:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Puts the pair of a cell's authority where the registry finds it.
fn add_authority(chain: &Chain, cell: &str) {
    for end in ["crt", "key"] {
        let name = format!("{cell}.{end}");
        fs::copy(chain.path(&name), chain.path(&format!("cells/{name}"))).unwrap();
    }
}

/// Sends a request of a device without a login, and returns the response.
fn requested(broker: &Mosquitto, device: &str, call: &str, payload: &Value) -> Value {
    let topic = format!("tenant/acme/device/{device}");
    let output = Command::new(find_program("mosquitto_rr").unwrap())
        .args(["-V", "5", "-h", "127.0.0.1", "-p", &broker.port().to_string(), "-q", "1"])
        .args(["-t", &format!("{topic}/request/{call}"), "-e", &format!("{topic}/response/own")])
        .args(["-W", "20", "-m", &payload.to_string()])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn a_device_renews_at_the_registry_and_publishes_in_its_cell_with_the_new_certificate() {
    let servers = Servers::start();
    let rig = CellRig::new(&servers);
    rig.join();
    let registry = Registry::start(&rig.registry, &["north", "south"]);
    let chain = &registry.chain;
    let first = chain.issued(&registry.settings, "pump-1", &["--authority", "north"]);
    assert_eq!(first["issuer"], NORTH, "{first}");
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
    let cell = rig
        .daemon_settings(&broker)
        .set("CERT_AUTH_ENABLED", "1")
        .set("DEVICE_API", "1")
        .set("REGISTRY_EST_URL", &registry.est_url())
        .start();
    cell.wait_ready();

    let (status, text) = registry.renew("pump-1", "next");
    assert_eq!(status, "200", "{text}");
    registry.openssl("verify -CAfile north.crt -purpose sslclient next.crt");
    assert_eq!(registry.issuer("pump-1"), NORTH);
    let new = registry.newest("pump-1");
    rig.wait_equal("SELECT * FROM device_certificates ORDER BY id");
    let topic = "tenant/acme/device/pump-1/telemetry";
    let stored = "SELECT count(*) FROM telemetry";
    assert!(chain.publishes(&broker, "next", None, topic), "{}", broker.log());
    rig.cell.wait_until(stored, "1");
    // The old one retires, at the registry and in the cell.
    registry.settings.run(&["cert", "confirm", &new]);
    rig.wait_equal("SELECT * FROM device_certificates ORDER BY id");
    let old = first["id"].as_str().unwrap();
    let fate = format!("SELECT status FROM device_certificates WHERE id = '{old}'");
    assert_eq!(rig.cell.value(&fate), "REVOKED");
    assert!(chain.publishes(&broker, "next", None, topic), "{}", broker.log());
    rig.cell.wait_until(stored, "2");

    let answer = requested(&broker, "pump-1", "certificate/renew", &json!({ "csr": "x" }));
    assert_eq!((&answer["status"], &answer["renew_at"]), (&json!(421), &json!(registry.est_url())));
    assert!(answer["detail"].as_str().unwrap().contains("/simplereenroll"), "{answer}");

    registry.settings.run(&["cert", "revoke", &new, "--reason", "keyCompromise"]);
    let (status, text) = registry.renew("next", "third");
    assert!(status == "403" && text.contains("revoked"), "{status} {text}");
}

#[test]
fn each_way_of_a_renewal_takes_the_issuer_and_a_name_takes_another() {
    let database = Postgres::shared().database();
    database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); \
         INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'pump-' || i FROM generate_series(1, 9) i",
    );
    let registry = Registry::start(&database, &["north", "south"]);
    let Registry { chain, settings, .. } = &registry;
    chain.issued(settings, "pump-1", &["--authority", "south"]);
    let renewed = ["cert", "renew", &registry.newest("pump-1"), "--new-key", "--key-out", "-"];
    settings.run(&renewed);
    assert_eq!(registry.issuer("pump-1"), SOUTH, "by the command");
    let rotated = ["cert", "rotate", &registry.newest("pump-1"), "--new-key", "--key-out", "-"];
    settings.run(&[&rotated[..], &["--authority", "north"]].concat());
    assert_eq!(registry.issuer("pump-1"), NORTH, "an operator moves the device");

    chain.issued(settings, "pump-2", &["--authority", "south"]);
    registry.request("over-mqtt");
    let csr = fs::read_to_string(chain.path("over-mqtt.csr")).unwrap();
    let renew = json!({ "csr": csr });
    let answer = requested(&registry.broker, "pump-2", "certificate/renew", &renew);
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(registry.issuer("pump-2"), SOUTH, "over MQTT");

    by_the_api(&registry);

    // The own authority is as before, for a first certificate and for its successor.
    let own = chain.issued(settings, "pump-3", &[]);
    assert_eq!(registry.renew("pump-3", "own").0, "200");
    assert_eq!(own["issuer"], json!(registry.issuer("pump-3")));

    a_code_names_an_authority(&registry);
    what_is_foreign_is_refused(&registry);
    the_authorities_are_shown(&registry);
}

fn by_the_api(registry: &Registry<'_>) {
    let api = Client::of(registry.settings.port("HTTP_BIND"), Some(TOKEN));
    let path = "/tenants/acme/devices/pump-7/certificates";
    let mut order = json!({ "new_key": true, "authority": "south" });
    let first = api.post(path, &order).ok(201);
    assert_eq!(first["issuer"], SOUTH, "{first}");
    let renewal = format!("/certificates/{}/renew", first["id"].as_str().unwrap());
    let second = api.post(&renewal, &json!({ "new_key": true })).ok(201);
    assert_eq!(second["issuer"], SOUTH, "{second}");
    order["authority"] = json!("east");
    let unknown = api.post(path, &order).ok(422);
    assert_eq!(unknown["errors"][0]["field"], "authority", "{unknown}");
}

fn a_code_names_an_authority(registry: &Registry<'_>) {
    let made = ["enrol", "add", "acme", "--device", "pump-4", "--authority", "south"];
    let made = registry.settings.run(&[&made[..], &["--output", "json"]].concat());
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["authority"], "south", "{made}");
    registry.request("pump-4");
    let login = format!("acme/device/pump-4:{}", made["code"].as_str().unwrap());
    let kind = "Content-Type: application/pkcs10";
    let wish = ["-u", &login, "-H", kind, "--data-binary", "@pump-4.csr"];
    let (status, text) = registry.est("simpleenroll", &wish);
    assert_eq!(status, "200", "{text}");
    registry.chain.settings.dir().write("pump-4.crt", &text);
    assert_eq!(registry.issuer("pump-4"), SOUTH);
    for line in [
        &["enrol", "add", "acme", "--device", "pump-5", "--authority", "east"][..],
        &["cert", "issue", "acme", "pump-5", "--new-key", "--key-out", "-", "--authority", "east"],
    ] {
        assert!(registry.refused(line).contains("there is no authority east"), "{line:?}");
    }

    // OpenSSL writes the equals sign with spaces or without.
    let of = |text: &str| {
        let text = text.replace(" = ", "=");
        [NORTH, SOUTH].map(|name| text.contains(&format!("subject={name}\n")))
    };
    let (_, all) = registry.est("cacerts", &[]);
    assert_eq!(of(&all), [true, true], "{all}");
    let own = ["--cert", "pump-4.crt", "--key", "pump-4.key"];
    let (_, south) = registry.est("cacerts", &own);
    assert_eq!(of(&south), [false, true], "{south}");
}

fn what_is_foreign_is_refused(registry: &Registry<'_>) {
    let Registry { chain, settings, database, .. } = registry;
    chain.issue("west", "pump-6");
    let before = registry.newest("pump-6");
    assert_eq!(registry.renew("pump-6", "foreign").0, "000", "the handshake fails");
    // The root of both is trusted; with its chain the device gets as far as the registry.
    let whole = [chain.path("pump-6.crt"), chain.path("west-chain.crt")]
        .map(|file| fs::read_to_string(file).unwrap())
        .concat();
    chain.settings.dir().write("whole.crt", whole);
    fs::copy(chain.path("pump-6.key"), chain.path("whole.key")).unwrap();
    let (status, text) = registry.renew("whole", "foreign");
    assert!(status == "403" && text.contains("Cell west is not here"), "{status} {text}");
    let csr = fs::read_to_string(chain.path("foreign.csr")).unwrap();
    let renew = json!({ "csr": csr });
    let answer = requested(&registry.broker, "pump-6", "certificate/renew", &renew);
    assert_eq!(answer["status"], 409, "{answer}");
    assert_eq!(registry.newest("pump-6"), before);

    // A further authority acts without a restart.
    add_authority(chain, "west");
    wait::for_ok("the listener trusts it", || match registry.renew("pump-6", "known").0.as_str() {
        "200" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(registry.issuer("pump-6"), "CN=Cell west");

    // While a file is unusable, its authority is not taken for an unknown one.
    fs::write(chain.path("cells/west.crt"), "nothing").unwrap();
    registry.request("broken");
    let renew = json!({ "csr": fs::read_to_string(chain.path("broken.csr")).unwrap() });
    let answer = requested(&registry.broker, "pump-6", "certificate/renew", &renew);
    assert_eq!(answer["status"], 503, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("west.crt cannot be used"), "{answer}");
    let count = "SELECT count(*) FROM device_certificates WHERE device_id = 'pump-6'";
    assert_eq!(database.value(count), "2");
    let started = settings.command(&["run"]).output().unwrap();
    let said = String::from_utf8_lossy(&started.stderr) + String::from_utf8_lossy(&started.stdout);
    assert!(!started.status.success() && said.contains("west.crt cannot be used"), "{said}");
}

fn the_authorities_are_shown(registry: &Registry<'_>) {
    let Registry { settings, daemon, .. } = registry;
    daemon.wait_metric("sluice_cell_authority_not_after_seconds{authority=\"north\"}", 1.7e9);
    let doctor = settings.command(&["doctor", "--output", "json"]).output().unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    for words in ["the authority north of a cell expires at", "west.crt cannot be used"] {
        assert!(doctor.contains(words), "{words}: {doctor}");
    }
    wait::until("readiness warns", || {
        daemon.get("/readyz").is_ok_and(|(status, body)| {
            status == 200 && body.contains("cell_authorities") && body.contains("west.crt")
        })
    });
    let broken = "sluice_cell_authority_not_after_seconds{authority=\"west\"}";
    wait::until("the metric says so", || daemon.metric(broken).to_bits() == 0.0_f64.to_bits());
}

#[test]
fn without_the_directory_the_own_authority_signs_as_before() {
    let database = Postgres::shared().database();
    database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); \
         INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1')",
    );
    let registry = Registry::start(&database, &[]);
    let id = registry.chain.issue("north", "pump-1");
    assert_eq!(registry.renew("pump-1", "next").0, "000", "the handshake fails");
    registry.settings.run(&["cert", "renew", &id, "--new-key", "--key-out", "-"]);
    let own = registry.issuer("pump-1");
    assert!(own != NORTH && own.starts_with("CN="), "{own}");
    let (_, all) = registry.est("cacerts", &[]);
    assert!(!all.contains("Cell north"), "{all}");
    let line = ["cert", "issue", "acme", "pump-1", "--new-key", "--key-out", "-"];
    let why = registry.refused(&[&line[..], &["--authority", "north"]].concat());
    assert!(why.contains("CELL_AUTHORITIES_DIR"), "{why}");
}
