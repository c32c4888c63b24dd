//! The broker with the plugin, the daemon and the database together: a device is known by its certificate,
//! its messages by their proof, and both end at the revocation.
//!
//! The plugin alone is tested in `plugin/mosquitto/tests`, the daemon's side in `plugin_link`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::database::Database;
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, TlsListener, rows_for};
use crate::support::process::{find_program, run_to_end};
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const SECRET: &str = "the-secret-of-the-proofs-in-this-test";
const TOPIC: &str = "tenant/acme/device/pump-1/telemetry";

/// What Sluice itself may do at the broker, and a user of the password file that may publish anything.
const ACL: &str =
    "user sluice\ntopic readwrite #\ntopic read $SYS/#\nuser gate\ntopic readwrite #\n";

/// A broker with the plugin, a daemon that requires proofs, and a device with a certificate.
struct Scene {
    it: TestDaemon<Mosquitto, Database<'static>>,
    dir: Scratch,
}

/// The plugin, which cargo builds beside the tests.
pub fn plugin() -> PathBuf {
    let library = std::env::current_exe().unwrap().with_file_name("libsluice_mosquitto.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

impl Scene {
    fn new(proof: &str) -> Self {
        let dir = Scratch::new("plugin");
        let path = |name: &str| dir.path().join(name);
        run_to_end(
            Command::new("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                ])
                .args([
                    "-subj",
                    "/CN=localhost",
                    "-addext",
                    "subjectAltName=DNS:localhost",
                    "-days",
                    "2",
                ])
                .args(["-keyout", "server.key", "-out", "server.crt"])
                .current_dir(dir.path()),
        );
        let socket = path("plugin.sock");
        let builder = TestDaemon::builder().database().authority(30);
        let ca: PathBuf = builder.settings().dir().path().join("ca.crt");
        let tls = TlsListener {
            ca,
            certificate: path("server.crt"),
            key: path("server.key"),
            crl: None,
            mutual: true,
            names_by_certificate: false,
        };
        let options = MosquittoOptions {
            tls: Some(tls),
            acl: Some(ACL.to_owned() + &rows_for(ACL, &[])),
            ..MosquittoOptions::default()
        };
        let options = options
            .user("sluice", "own")
            .user("gate", "way")
            .line(&format!("plugin {}", plugin().display()))
            .line(&format!("plugin_opt_socket {}", socket.display()))
            .line("plugin_opt_unknown defer");
        let it = builder
            .on_broker(Mosquitto::start(options))
            .set("MQTT_USERNAME", "sluice")
            .set("MQTT_PASSWORD", "own")
            .set("CERT_AUTH_ENABLED", "1")
            .set("PLUGIN_SOCKET", socket.to_str().unwrap())
            .set("PUBLISHER_PROOF", proof)
            .set("PUBLISHER_PROOF_SECRET", SECRET)
            .start();
        let scene = Self { it, dir };
        scene.it.daemon.wait_ready();
        scene.it.settings.run(&["tenant", "add", "acme", "--name", "Acme"]);
        scene.it.settings.run(&["device", "add", "acme", "pump-1"]);
        scene.issue("pump-1", "one");
        scene
    }

    /// Issues a certificate into the files `<name>.crt` and `<name>.key`.
    fn issue(&self, device: &str, name: &str) {
        let file = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let (crt, key) = (file("crt"), file("key"));
        self.it.settings.run(&[
            "cert",
            "issue",
            "acme",
            device,
            "--new-key",
            "--out",
            crt.to_str().unwrap(),
            "--key-out",
            key.to_str().unwrap(),
        ]);
    }

    fn client(&self, program: &str, name: &str, arguments: &[&str]) -> Command {
        let path = |file: &str| self.dir.path().join(file);
        let mut command =
            Command::new(find_program(program).expect("mosquitto-clients is installed"));
        command
            .args(["-V", "5", "-h", "localhost", "-p", &self.it.broker.tls_port().to_string()])
            .args(["--cafile", text(&path("server.crt"))])
            .args(["--cert", text(&path(&format!("{name}.crt")))])
            .args(["--key", text(&path(&format!("{name}.key")))])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Publishes with QoS 1 by certificate; whether the broker accepted it.
    fn publish(&self, name: &str, topic: &str, payload: &str) -> bool {
        let arguments = ["-q", "1", "-t", topic, "-m", payload];
        let output = self.client("mosquitto_pub", name, &arguments).output().unwrap();
        output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("failed")
    }

    fn stored(&self, sql: &str, expected: &str) {
        self.it.database.wait_until(sql, expected);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Ends a client of the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_message_is_stored_with_the_certificate_that_published_it() {
    let scene = Scene::new("require");
    wait::until("the device is let in", || scene.publish("one", TOPIC, r#"{"metrics":{"t":1}}"#));
    scene.stored(
        "SELECT count(DISTINCT c.id) FROM telemetry t JOIN device_certificates c ON c.id = t.certificate_id",
        "1",
    );
    assert!(
        !scene.publish("one", "tenant/acme/device/pump-2/telemetry", "{}"),
        "the plugin refuses the topic of another device"
    );
    assert!(scene.it.daemon.metric("sluice_proofs_total{result=\"valid\"}") >= 1.0);
}

#[test]
fn a_user_of_the_password_file_cannot_publish_as_a_device() {
    let scene = Scene::new("require");
    let port = scene.it.broker.port().to_string();
    let forged = "user-property sluice-publisher acme/device/pump-1";
    let mut command = Command::new(find_program("mosquitto_pub").unwrap());
    command.args(["-V", "5", "-h", "127.0.0.1", "-p", &port, "-u", "gate", "-P", "way", "-q", "1"]);
    command
        .args(["-t", TOPIC, "-m", r#"{"metrics":{"t":1}}"#, "-D", "publish"])
        .args(forged.split(' '));
    wait::until("the user is let in", || command.status().unwrap().success());
    scene.stored("SELECT count(DISTINCT reason || publisher) FROM quarantine_events", "1");
    let row = scene
        .it
        .database
        .value("SELECT DISTINCT reason || ' ' || publisher FROM quarantine_events");
    assert_eq!(row, "PUBLISHER_MISMATCH gate");
    assert_eq!(scene.it.database.value("SELECT count(*) FROM telemetry"), "0");
}

#[test]
fn a_revocation_ends_the_session_and_refuses_the_next() {
    let scene = Scene::new("require");
    scene.issue("pump-1", "two");
    let own = ["-i", "watch", "-t", "tenant/acme/device/pump-1/commands/#"];
    let mut command = scene.client("mosquitto_sub", "one", &own);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut session = Ended(command.spawn().unwrap());
    wait::until("the session is open", || {
        let opened = scene.it.broker.log().matches("as watch").count() > 0;
        // Before the registry arrives the broker refuses it, and the client ends.
        if session.0.try_wait().unwrap().is_some() {
            session = Ended(command.spawn().unwrap());
        }
        opened && scene.it.daemon.metric("sluice_plugin_sessions") >= 1.0
    });
    let first = "SELECT id FROM device_certificates ORDER BY created_at LIMIT 1";
    let id = scene.it.database.value(first);
    let revoked_at = Instant::now();
    scene.it.settings.run(&["cert", "revoke", &id, "--reason", "keyCompromise"]);
    wait::until("the session has ended", || session.0.try_wait().unwrap().is_some());
    let took = revoked_at.elapsed();
    assert!(took < Duration::from_secs(20), "the command, the way and the end took {took:?}");
    wait::until("the revoked certificate is refused", || !scene.publish("one", TOPIC, "{}"));
    assert!(scene.publish("two", TOPIC, r#"{"metrics":{"t":2}}"#), "the other goes on");
}

#[test]
fn while_the_daemon_is_away_devices_publish_and_nothing_is_lost() {
    let scene = Scene::new("require");
    wait::until("the device is let in", || scene.publish("one", TOPIC, r#"{"metrics":{"t":0}}"#));
    scene.it.daemon.kill9();
    for number in 1..=5 {
        let payload = format!(r#"{{"metrics":{{"t":{number}}}}}"#);
        assert!(scene.publish("one", TOPIC, &payload), "message {number}");
    }
    scene.it.daemon.start_again();
    scene.stored("SELECT count(DISTINCT metrics->>'t') FROM telemetry", "6");
    assert_eq!(scene.it.database.value("SELECT count(*) FROM quarantine_events"), "0");
}
