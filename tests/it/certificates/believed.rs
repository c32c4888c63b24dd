//! A running daemon that believes certificates: it hears of a revocation in seconds, and no grace
//! lasts longer than it was given, whether or not anybody has marked its end.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::office::{Office, id};
use crate::support::daemon::{Daemon, Settings};
use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::time_bounds::REGISTRY_CHANGE;
use crate::support::wait;

/// A daemon that believes certificates and nothing else, and a device that speaks.
struct Scene {
    office: Office,
    daemon: Daemon,
    device: Device,
    _broker: Mosquitto,
}

// === impl Scene ===

impl Scene {
    fn new(office: Office) -> Self {
        let broker = Mosquitto::start(MosquittoOptions::default());
        let settings = Settings::new(&broker, &office.database).set("CERT_AUTH_ENABLED", "1");
        let daemon = settings.start();
        daemon.wait_ready();
        wait::until("it listens", || daemon.metric("sluice_db_listening") > 0.5);
        let device = Device::connect(broker.port(), "pump-1");
        Self { office, daemon, device, _broker: broker }
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

    fn is_believed(&mut self) -> Duration {
        self.publish_until("sluice_messages_total{result=\"stored\"}")
    }

    fn is_refused(&mut self) -> Duration {
        self.publish_until("sluice_quarantined_total{reason=\"TOKEN_NOT_SET_IN_REGISTRY\"}")
    }

    fn renewed(&self, old: &Value, name: &str) -> Value {
        self.office.replaced("rotate", id(old), name)
    }
}

#[test]
fn a_certificate_is_believed_from_its_issue_to_its_revocation_within_seconds() {
    let mut scene = Scene::new(Office::new());
    scene.is_refused();
    let first = scene.office.issued("first");
    assert!(scene.is_believed() < REGISTRY_CHANGE);
    let second = scene.renewed(&first, "second");
    scene.office.done(&["cert", "confirm", id(&second)]);
    assert!(scene.is_believed() < REGISTRY_CHANGE, "the new one holds");
    scene.office.done(&["cert", "revoke", id(&second), "--reason", "keyCompromise"]);
    let took = scene.is_refused();
    println!("refused {took:?} after the command ended");
    assert!(took < REGISTRY_CHANGE, "{took:?}");
    let detail = scene
        .office
        .database
        .value("SELECT detail FROM quarantine_events ORDER BY quarantined_at DESC LIMIT 1");
    assert!(!detail.contains("NULL"), "{detail}");
}

#[test]
fn a_grace_that_is_over_is_over_also_before_it_is_marked() {
    let office = Office::new();
    let first = office.issued("first");
    let mut scene = Scene::new(office);
    scene.is_believed();
    // The new one is not believed yet, so that only the old one could be: it retires while the
    // daemon runs and no round is due.
    let second = scene.renewed(&first, "second");
    scene.office.database.query(&format!(
        "UPDATE device_certificates SET not_before = now() + interval '1 hour' WHERE id = '{}';
         UPDATE device_certificates SET retire_at = now() + interval '2 seconds' WHERE id = '{}'",
        id(&second),
        id(&first)
    ));
    scene.is_believed();
    // Sooner than any round would have marked it.
    let took = scene.is_refused();
    assert!(took < REGISTRY_CHANGE, "{took:?}");
}
