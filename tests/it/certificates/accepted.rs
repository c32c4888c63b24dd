//! A running daemon that authenticates by certificates: a revocation acts within seconds, and no
//! grace lasts longer than granted, whether or not its end is marked.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::ca_fixture::{CaFixture, id};
use crate::support::daemon::Daemon;
use crate::support::device::Device;
use crate::support::mosquitto::Mosquitto;
use crate::support::test_daemon::TestDaemon;
use crate::support::time_bounds::REGISTRY_CHANGE;
use crate::support::wait;

/// A daemon that accepts certificates and nothing else, and a device that publishes.
struct CertifiedDevice {
    ca: CaFixture,
    daemon: Daemon,
    device: Device,
    _broker: Mosquitto,
}

// === impl CertifiedDevice ===

impl CertifiedDevice {
    fn new(ca: CaFixture) -> Self {
        let start = TestDaemon::builder().broker().on_database(&ca.database);
        let TestDaemon { daemon, broker, .. } = start.set("CERT_AUTH_ENABLED", "1").start_ready();
        wait::until("it listens", || daemon.metric("sluice_db_listening") > 0.5);
        let device = Device::connect(broker.port(), "pump-1");
        Self { ca, daemon, device, _broker: broker }
    }

    /// Publishes until this metric has grown; how long that took.
    fn publish_until(&mut self, metric: &str) -> Duration {
        let (before, began) = (self.daemon.metric(metric), Instant::now());
        wait::until(metric, || {
            self.device.publish("tenant/acme/device/pump-1/telemetry", r#"{"metrics":{"t":1}}"#);
            self.daemon.metric(metric) > before
        });
        began.elapsed()
    }

    fn is_accepted(&mut self) -> Duration {
        self.publish_until("sluice_messages_total{result=\"stored\"}")
    }

    fn is_refused(&mut self) -> Duration {
        self.publish_until("sluice_quarantined_total{reason=\"TOKEN_NOT_SET_IN_REGISTRY\"}")
    }

    fn renewed(&self, old: &Value, name: &str) -> Value {
        self.ca.replaced("rotate", id(old), name)
    }
}

#[test]
fn a_certificate_is_accepted_from_its_issue_until_its_revocation() {
    let mut pump = CertifiedDevice::new(CaFixture::new());
    pump.is_refused();
    let first = pump.ca.issued("first");
    assert!(pump.is_accepted() < REGISTRY_CHANGE);
    let second = pump.renewed(&first, "second");
    pump.ca.done(&["cert", "confirm", id(&second)]);
    assert!(pump.is_accepted() < REGISTRY_CHANGE, "the new one holds");
    pump.ca.done(&["cert", "revoke", id(&second), "--reason", "keyCompromise"]);
    let took = pump.is_refused();
    println!("refused {took:?} after the command ended");
    assert!(took < REGISTRY_CHANGE, "{took:?}");
    let detail = pump
        .ca
        .database
        .value("SELECT detail FROM quarantine_events ORDER BY quarantined_at DESC LIMIT 1");
    assert!(!detail.contains("NULL"), "{detail}");
}

#[test]
fn a_grace_ends_on_time_also_before_its_end_is_marked() {
    let ca = CaFixture::new();
    let first = ca.issued("first");
    let mut pump = CertifiedDevice::new(ca);
    pump.is_accepted();
    // The new one is not valid yet, so only the old one could be accepted: it retires while the
    // daemon runs and no round is due.
    let second = pump.renewed(&first, "second");
    pump.ca.database.query(&format!(
        "UPDATE device_certificates SET not_before = now() + interval '1 hour' WHERE id = '{}';
         UPDATE device_certificates SET retire_at = now() + interval '2 seconds' WHERE id = '{}'",
        id(&second),
        id(&first)
    ));
    pump.is_accepted();
    // Sooner than any round would have marked it.
    let took = pump.is_refused();
    assert!(took < REGISTRY_CHANGE, "{took:?}");
}
