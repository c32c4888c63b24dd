//! TLS towards a real broker: who is trusted, who we are, and what is said when either fails.

use std::path::PathBuf;
use std::process::Command;

use sluice::config::sections::broker::{BrokerConfig, BrokerTls};

use super::session_harness::{SessionHarness, config, numbered};
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, TlsListener};
use crate::support::process::run_to_end;

/// An authority, and what it signed.
#[derive(Debug)]
pub struct Authority {
    dir: Scratch,
}

// === impl Authority ===

impl Authority {
    pub fn new() -> Self {
        let authority = Self { dir: Scratch::new("authority") };
        authority.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=authority -days 2 -keyout ca.key -out ca.crt");
        authority
    }

    /// A certificate for this name, and its key in PKCS #8.
    pub fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        self.dir.write("extensions", "subjectAltName=IP:127.0.0.1\n");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.crt"
        ));
        (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        run_to_end(Command::new("openssl").args(arguments.split(' ')).current_dir(self.dir.path()));
    }

    pub fn broker(&self) -> Mosquitto {
        let (certificate, key) = self.sign("server");
        let tls = TlsListener {
            ca: self.path("ca.crt"),
            certificate,
            key,
            crl: None,
            mutual: true,
            names_by_certificate: true,
        };
        Mosquitto::start(MosquittoOptions { tls: Some(tls), ..MosquittoOptions::default() })
    }
}

pub fn over_tls(
    broker: &Mosquitto,
    ca: PathBuf,
    identity: Option<(PathBuf, PathBuf)>,
) -> BrokerConfig {
    BrokerConfig {
        tls: Some(BrokerTls { ca_cert: Some(ca), identity }),
        ..config(broker.tls_port())
    }
}

#[test]
fn a_client_certificate_gets_in_with_its_key_in_any_pem_form() {
    let authority = Authority::new();
    let broker = authority.broker();
    let (certificate, key) = authority.sign("sluice");
    authority.openssl("ec -in sluice.key -out sluice.sec1.key");
    let settings = over_tls(&broker, authority.path("ca.crt"), Some((certificate.clone(), key)));
    let mut session = SessionHarness::start_well(settings);
    let sec1 = over_tls(
        &broker,
        authority.path("ca.crt"),
        Some((certificate, authority.path("sluice.sec1.key"))),
    );
    assert_eq!(session.publish(&sec1, &numbered(500)), 500);
    for number in 0..500 {
        let delivery = session.next();
        assert_eq!(delivery.payload, number.to_string());
        session.acknowledge(delivery);
    }
}

#[test]
fn what_is_wrong_with_tls_is_named_with_the_setting_to_change() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = authority.broker();
    let ca = authority.path("ca.crt");
    let stranger = other.sign("stranger");
    let elsewhere =
        BrokerConfig { host: "localhost".into(), ..over_tls(&broker, ca.clone(), None) };
    let plain = BrokerConfig { tls: None, ..config(broker.tls_port()) };
    let not_tls = BrokerConfig { port: broker.port(), ..over_tls(&broker, ca.clone(), None) };
    let no_file = over_tls(&broker, authority.path("none.crt"), None);
    for (settings, words) in [
        (over_tls(&broker, ca.clone(), None), &["MQTT_CLIENT_CERT"][..]),
        (over_tls(&broker, ca, Some(stranger)), &["MQTT_CLIENT_CERT"]),
        (over_tls(&broker, other.path("ca.crt"), None), &["MQTT_CA_CERT"]),
        (elsewhere, &["MQTT_HOST"]),
        (plain, &["MQTT_TLS=1"]),
        (not_tls, &["MQTT_TLS"]),
        (no_file, &["MQTT_CA_CERT", "none.crt"]),
    ] {
        SessionHarness::start(settings).wait_for_trouble(words);
    }
}
