//! The broker of `compose/` with the plugin, as the stack runs it by default: its own `mosquitto-plugin.conf`,
//! a real daemon and a real database. The stock access rules have tests of their own, in `listeners`.

use std::fs;
use std::process::Stdio;

use super::device_script;
use super::stack::{PASSWORD_DEVICE, Stack, words};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::process::run_to_end;
use crate::support::wait;

const TOPIC: &str = "tenant/acme/device/pump-1/telemetry";
/// Not authorized: 0x87.
const REFUSED: &str = "135";

/// The stack with the plugin, and two devices of which pump-1 has a certificate of the registry.
struct Scene {
    stack: Stack,
    settings: Settings,
    daemon: Daemon,
    database: Database<'static>,
}

impl Scene {
    fn new(proof: &str) -> Self {
        let mut stack = Stack::prepared();
        let library = std::env::current_exe().unwrap().with_file_name("libsluice_mosquitto.so");
        let mut config = stack.configuration("mosquitto-plugin.conf");
        for (from, to) in [
            ("/usr/local/lib/sluice_mosquitto.so", library.display().to_string()),
            ("/run/sluice/", stack.text("plugin/")),
        ] {
            assert!(config.contains(from), "{from} is in mosquitto-plugin.conf");
            config = config.replace(from, &to);
        }
        fs::write(stack.path("mosquitto.conf"), config).unwrap();
        let database = Postgres::shared().database();
        let settings = device_script::settings(&stack, &database)
            .set("BROKER_PROBE_CA_CERT", &stack.text("sluice/server-ca.crt"))
            .set("PLUGIN_SOCKET", &stack.text("plugin/plugin.sock"))
            .set("PUBLISHER_PROOF", proof)
            .set("PUBLISHER_PROOF_SECRET_FILE", &stack.text("sluice/publisher_proof_secret"));
        let daemon = settings.start();
        stack.launch();
        stack.wait_listening();
        daemon.wait_ready();
        settings.run(&["tenant", "add", "acme"]);
        for device in ["pump-1", "pump-2"] {
            settings.run(&["device", "add", "acme", device, "--no-token"]);
        }
        let scene = Self { stack, settings, daemon, database };
        scene.issue("pump-1");
        let own = ["-q", "1", "-t", TOPIC, "-m", r#"{"metrics":{"t":1}}"#];
        wait::until("the plugin knows the certificate", || {
            let mut client = scene.stack.over_tls("mosquitto_pub", Some("pump-1"), &own);
            client.output().unwrap().status.success()
        });
        scene
    }

    /// Issues a certificate where [`Stack::over_tls`] looks for it.
    fn issue(&self, device: &str) {
        let own = self.stack.path(&format!("authority/devices/acme/{device}"));
        fs::create_dir_all(&own).unwrap();
        let file = |name: &str| own.join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (file("device.crt"), file("device.key"));
        let made = ["--new-key", "--out", &certificate, "--key-out", &key];
        self.settings.run(&[&["cert", "issue", "acme", device], &made[..]].concat());
    }

    fn password(&self) -> String {
        self.stack.read("sluice/mqtt_password")
    }
}

#[test]
fn a_registered_certificate_decides_and_its_messages_are_proven() {
    let scene = Scene::new("require");
    scene.database.wait_until(
        "SELECT count(DISTINCT c.device_id) FROM telemetry t JOIN device_certificates c ON c.id = t.certificate_id",
        "1",
    );
    for topic in [
        "tenant/acme/device/pump-2/telemetry",
        "tenant/other/device/pump-1/telemetry",
        "tenant/acme/device/pump-1/commands",
        "tenant/acme/device/pump-1/response/time/accepted",
        "sluice/outbox",
        "any/topic",
    ] {
        assert_eq!(scene.stack.reason_code("pump-1", topic), REFUSED, "{topic}");
    }
    // The authority signed it, and the registry does not know it: the access rules would let it in.
    let forged = scene.stack.try_device("acme", "pump-2", &[]);
    assert_eq!(forged.status.code(), Some(1), "{forged:?}");
    assert!(words(&forged).contains("3. certificate: made"), "{forged:?}");
    scene.stack.wait_said("the registry has no valid certificate with the fingerprint", 1);
    assert!(scene.daemon.metric("sluice_plugin_connections") >= 1.0);
}

#[test]
fn a_revocation_ends_the_open_session_and_is_proven() {
    let scene = Scene::new("prefer");
    let own = ["-t", "tenant/acme/device/pump-1/commands/#"];
    let mut client = scene.stack.over_tls("mosquitto_sub", Some("pump-1"), &own);
    let mut session = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait::until("the session is open", || scene.daemon.metric("sluice_plugin_sessions") >= 1.0);
    let id = scene.database.value("SELECT id FROM device_certificates WHERE device_id = 'pump-1'");
    scene.settings.run(&["cert", "revoke", &id, "--reason", "keyCompromise", "--wait"]);
    wait::until("the session has ended", || session.try_wait().unwrap().is_some());
    assert!(!scene.stack.lets_in("pump-1"), "a revoked certificate gets in");
}

#[test]
fn without_a_certificate_only_users_of_the_password_file_get_in() {
    let scene = Scene::new("prefer");
    let message = ["-q", "1", "-t", TOPIC, "-m", "x"];
    let password = scene.password();
    for login in [None, Some(("sluice", "wrong")), Some(("nobody", "x")), Some(PASSWORD_DEVICE)] {
        let output = scene.stack.by_password("mosquitto_pub", login, &message).output().unwrap();
        assert!(!output.status.success(), "{login:?}: {output:?}");
    }
    let bare = scene.stack.over_tls("mosquitto_pub", None, &message).output().unwrap();
    assert!(!bare.status.success(), "{bare:?}");
    // Sluice gets in, and its access rules hold.
    let mut speak = scene.stack.by_password("mosquitto_pub", Some(("sluice", &password)), &message);
    let output = speak.arg("-d").output().unwrap();
    assert!(words(&output).contains("RC:135"), "{output:?}");
    // The command of the health check, with this broker's port.
    let version = ["-t", "$SYS/broker/version", "-C", "1", "-W", "30"];
    let mut check = scene.stack.by_password("mosquitto_sub", None, &version);
    let said = run_to_end(check.env("XDG_CONFIG_HOME", scene.stack.path("broker")));
    assert!(said.contains("mosquitto version"), "{said}");
}
