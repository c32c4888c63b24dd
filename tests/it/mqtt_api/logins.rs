//! The brokers of Symphony's configurations: with a password, with TLS, and with client
//! certificates. The tests beside this one use the anonymous kind.

use std::path::PathBuf;
use std::process::Command;

use super::coa_client::{CoaReply, request_once};
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, TlsListener};
use crate::support::process::run_to_end;
use crate::support::test_daemon::TestDaemon;

const GREETING: &str = r#"{"route":"greetings","metadata":{"request-id":"1"}}"#;

const TENANTS: &str = r#"{"route":"tenants"}"#;

/// Callers are bound to their topics by the lines of the reference page.
const RULES: &str = "user sluice
topic readwrite sluice/#
topic read tenant/+/device/+/#
topic read $SYS/#
topic write tenant/+/device/+/response/#
topic write tenant/+/device/+/commands
topic write tenant/+/device/+/shadow/desired
topic write tenant/+/device/+/errors
topic write tenant/+/device/+/notices/#
topic read coa-request
topic write coa-response
topic read symphony/request/+
topic write symphony/response/#
topic write $sluice/#
pattern write coa-request
pattern read coa-response
pattern write symphony/request/%u
pattern read symphony/response/%u/#
";

/// An authority of OpenSSL and what it signed.
struct Signed {
    dir: Scratch,
}

// === impl Signed ===

impl Signed {
    fn new(names: &[&str]) -> Self {
        let signed = Self { dir: Scratch::new("callers") };
        signed.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=authority -days 2 -keyout ca.key -out ca.crt");
        signed.dir.write("extensions", "subjectAltName=IP:127.0.0.1\n");
        for name in names {
            signed.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ));
            signed.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.crt"
            ));
        }
        signed
    }

    fn openssl(&self, arguments: &str) {
        run_to_end(Command::new("openssl").args(arguments.split(' ')).current_dir(self.dir.path()));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn broker(&self, mutual: bool) -> Mosquitto {
        let [ca, certificate, key] =
            ["ca.crt", "server.crt", "server.key"].map(|name| self.path(name));
        let tls =
            TlsListener { ca, certificate, key, crl: None, mutual, names_by_certificate: mutual };
        let options = MosquittoOptions {
            tls: Some(tls),
            acl: Some(RULES.to_owned()),
            ..MosquittoOptions::default()
        };
        Mosquitto::start(options.user("sluice", "s3cret").user("ops", "0ps"))
    }
}

fn start(broker: Mosquitto, settings: &[(&str, &str)]) -> TestDaemon {
    TestDaemon::builder()
        .on_broker(broker)
        .database()
        .set("MQTT_API_REQUEST_TOPIC", "coa-request")
        .set("MQTT_API_RESPONSE_TOPIC", "coa-response")
        .set("MQTT_API_CALLERS", "ops=admin")
        .with(settings)
        .start_ready()
}

/// Greets on the shared topic, and reads tenants as `ops`.
fn answers(port: u16, login: &[&str]) {
    let shared = ["-t", "coa-request", "-e", "coa-response"];
    let own = ["-t", "symphony/request/ops", "-e", "symphony/response/ops"];
    for (topics, payload) in [(shared, GREETING), (own, GREETING), (own, TENANTS)] {
        let text = request_once(port, &[login, &topics].concat(), payload);
        assert_eq!(CoaReply::read(text.trim().to_owned()).state, 200, "{topics:?}: {text}");
    }
}

#[test]
fn callers_are_answered_through_a_password_tls_and_certificates() {
    let signed = Signed::new(&["server", "sluice", "ops"]);
    let [ca, cert, key] = ["ca.crt", "sluice.crt", "sluice.key"].map(|name| signed.text(name));
    let password = [("MQTT_USERNAME", "sluice"), ("MQTT_PASSWORD", "s3cret")];
    let login = ["-u", "ops", "-P", "0ps"];

    // With a password, then with the authority of the broker as well.
    let it = start(signed.broker(false), &password);
    answers(it.broker.port(), &login);
    let tls_port = it.broker.tls_port();
    it.daemon.terminate();
    let trusting = [("MQTT_TLS", "1"), ("MQTT_CA_CERT", &ca)];
    let port = tls_port.to_string();
    let settings = it.settings.clone().set("MQTT_PORT", &port);
    let settings = trusting.iter().fold(settings, |all, (name, value)| all.set(name, value));
    let daemon = settings.start();
    daemon.wait_ready();
    let over_tls = [&login[..], &["--cafile", &ca]].concat();
    answers(tls_port, &over_tls);
    drop(daemon);

    // With certificates: the common name is the caller.
    let broker = signed.broker(true);
    let port = broker.tls_port().to_string();
    let own =
        [("MQTT_CLIENT_CERT", cert.as_str()), ("MQTT_CLIENT_KEY", &key), ("MQTT_PORT", &port)];
    let settings = [&trusting[..], &own].concat();
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, *value)).collect();
    let it = start(broker, &settings);
    let [cert, key] = ["ops.crt", "ops.key"].map(|name| signed.text(name));
    answers(it.broker.tls_port(), &["--cafile", &ca, "--cert", &cert, "--key", &key]);
}

#[test]
fn a_broker_that_cannot_be_verified_is_refused_and_no_setting_changes_that() {
    let it = TestDaemon::builder().settings().clone();
    let refused =
        it.set("MQTT_INSECURE_SKIP_VERIFY", "true").command(&["config", "check"]).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("Sluice always verifies the certificate of the broker"), "{said}");
}
