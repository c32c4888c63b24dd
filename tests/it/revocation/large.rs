//! A CRL of 100,000 entries: how long it takes from the rows to the file, and how long the broker answers
//! nobody while it reads the file.
//!
//! The bounds are those of a busy machine; the figures are printed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, TlsListener};
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const ENTRIES: usize = 100_000;
/// From the rows to the proof.
const PUBLISHED_WITHIN: Duration = Duration::from_mins(1);
/// The promise is 250 ms on a quiet machine.
const STALL: Duration = Duration::from_secs(2);

#[test]
fn a_crl_of_100_000_entries_is_published_and_the_broker_answers_meanwhile() {
    let start = TestDaemon::builder().authority_paths();
    let path = |name: &str| start.settings().dir().path().join(name);
    start.settings().run(&["ca", "init", "--server-name", "localhost"]);
    let shown = start.settings().run(&["ca", "show", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let issuer = shown["subject"].as_str().unwrap().to_owned();
    let broker = Mosquitto::start(MosquittoOptions {
        tls: Some(TlsListener {
            ca: path("ca.crt"),
            certificate: path("server.crt"),
            key: path("server.key"),
            crl: Some(path("crl.pem")),
            mutual: true,
            names_by_certificate: true,
        }),
        ..MosquittoOptions::default()
    });
    let (list, roots) = (path("crl.pem"), path("server-ca.crt"));
    let pid = start.settings().dir().write("broker.pid", broker.pid().to_string());
    let probe = format!("localhost:{}", broker.tls_port());
    let rig = start
        .on_broker(broker)
        .database()
        .set("BROKER_PID_FILE", pid.to_str().unwrap())
        .set("BROKER_PROBE_ADDR", &probe)
        .set("BROKER_PROBE_CA_CERT", roots.to_str().unwrap())
        .start_ready();
    rig.database.wait_until("SELECT enforced FROM crl_state", "t");
    let fill = format!(
        "INSERT INTO revoked_certificates SELECT gen_random_uuid(), 'acme', 'pump-' || i, 'acme/device/pump-' || i, \
         md5(i::text), '{issuer}', lpad(to_hex(i), 8, '7') || md5(i::text), now() + interval '9 days', now(), 'superseded' \
         FROM generate_series(1, {ENTRIES}) i"
    );
    rig.database.query(&fill);
    let stall = publish(&rig, &list);
    assert!(stall < STALL, "{stall:?}");
    let entries: usize = rig.database.value("SELECT entries FROM crl_state").parse().unwrap();
    assert!(entries > ENTRIES, "{entries}");
}

/// Publishes the list while a client publishes without a pause; the client's longest wait.
fn publish(rig: &TestDaemon, list: &Path) -> Duration {
    let before = rig.database.value("SELECT crl_number FROM crl_state");
    let (size, began_at) = (fs::metadata(list).unwrap().len(), Instant::now());
    let mut device = Device::connect(rig.broker.port(), "ping");
    rig.database.query("UPDATE crl_state SET requested_at = clock_timestamp()");
    let (mut stall, mut published) = (Duration::ZERO, None);
    let proven = format!(
        "SELECT crl_number > {before} AND enforced AND looked_at > published_at FROM crl_state"
    );
    wait::within(PUBLISHED_WITHIN, "the list is enforced", || {
        for _ in 0..50 {
            let sent_at = Instant::now();
            device.publish("ping/pong", "x");
            stall = stall.max(sent_at.elapsed());
            if published.is_none() && fs::metadata(list).is_ok_and(|file| file.len() != size) {
                published = Some(began_at.elapsed());
            }
        }
        if rig.database.value(&proven) == "t" { Ok(()) } else { Err("not yet".to_owned()) }
    });
    eprintln!(
        "a CRL of {ENTRIES} entries: in its file after {published:?}, proven after {:?}, {} bytes of PEM, \
         longest stall of the broker {stall:?}",
        began_at.elapsed(),
        fs::metadata(list).unwrap().len()
    );
    stall
}

#[test]
fn a_certificate_leaves_the_crl_after_one_crl_that_was_made_past_its_end() {
    let rig = TestDaemon::builder().broker().database().authority(400).start_ready();
    let shown = rig.settings.run(&["ca", "show", "--output", "json"]);
    let issuer =
        serde_json::from_str::<Value>(&shown).unwrap()["subject"].as_str().unwrap().to_owned();
    rig.database.wait_until("SELECT crl_number > 0 FROM crl_state", "t");
    // It ended a minute ago, and the last CRL is older than that.
    rig.database.query(&format!(
        "UPDATE crl_state SET published_at = now() - interval '1 hour'; \
         INSERT INTO revoked_certificates VALUES (gen_random_uuid(), 'acme', 'pump-1', 'acme/device/pump-1', 'a', '{issuer}', \
         '0a0b0c', now() - interval '6 minutes', now() - interval '1 day', 'superseded')"
    ));
    let lists = || {
        rig.settings.run(&["crl", "publish"]);
        let text = crate::support::process::run_to_end(
            std::process::Command::new("openssl")
                .args(["crl", "-noout", "-text", "-in"])
                .arg(rig.settings.dir().path().join("crl.pem")),
        );
        text.contains("Serial Number: 0A0B0C")
    };
    assert!(lists(), "one list that was made past its end");
    assert!(!lists(), "the next one");
}
