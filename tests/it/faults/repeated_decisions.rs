//! What was decided stays decided: a message that the broker delivers again is in one table, and
//! counted once, also when the registry, the rate or the daemon changed in between. By
//! messages that carry `ts`.

use crate::pipeline::fixture::{Pipeline, TRUSTING, to};
use crate::support::device::Message;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::{Direction, Proxy};

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1')";

const MESSAGES: usize = 20;
const STORED: &str = "SELECT count(*) FROM telemetry";
const REFUSED: &str = "SELECT count(*) FROM quarantine_events";
const COUNTED: &str = "SELECT coalesce(sum(cnt), 0) FROM quarantine_counters_minute";

/// A pipeline whose acknowledgements can be lost.
struct CuttablePipeline {
    pipeline: Pipeline,
    proxy: Proxy,
}

// === impl CuttablePipeline ===

impl CuttablePipeline {
    fn new(settings: &[(&str, &str)]) -> Self {
        let broker = Mosquitto::start(MosquittoOptions::default());
        let proxy = Proxy::to(broker.port());
        let port = proxy.port().to_string();
        let settings: Vec<_> =
            settings.iter().copied().chain([TRUSTING[0], ("MQTT_PORT", port.as_str())]).collect();
        Self { pipeline: Pipeline::beside(broker, &settings, REGISTRY), proxy }
    }

    /// Publishes all of these and waits until each is decided; no acknowledgement reaches the
    /// broker.
    fn decide(&mut self, messages: &[Message]) {
        self.proxy.hold(Direction::ToServer);
        self.pipeline.send(messages);
        self.pipeline.settle();
    }

    /// Changes the registry, and waits until the daemon has forgotten what it knew.
    fn change(&self, sql: &str) {
        let forgotten = self.pipeline.daemon.metric("sluice_auth_invalidations_total");
        self.pipeline.database.query(sql);
        self.pipeline.daemon.wait_metric("sluice_auth_invalidations_total", forgotten + 1.0);
    }

    /// Ends the connection; waits until this many messages that were delivered again are decided
    /// again.
    fn repeat(&mut self, messages: usize) {
        self.proxy.cut();
        self.proxy.release(Direction::ToServer);
        self.pipeline.expect(messages);
        self.pipeline.settle();
    }

    fn rows(&self) -> [String; 3] {
        [STORED, REFUSED, COUNTED].map(|sql| self.pipeline.value(sql))
    }
}

/// Messages with a time each.
fn timed(device: &str, count: usize) -> Vec<Message> {
    let start = sluice::clock::now().micros() / 1_000;
    let payload = |number: usize| {
        format!(r#"{{"ts":{},"seq":{number}}}"#, start + i64::try_from(number).unwrap())
    };
    (0..count)
        .map(|number| to(&format!("acme/device/{device}/telemetry"), payload(number)))
        .collect()
}

#[test]
fn a_stored_message_is_not_refused_after_its_device_is_revoked() {
    let mut cuttable = CuttablePipeline::new(&[]);
    cuttable.decide(&timed("p1", MESSAGES));
    cuttable.change("UPDATE devices SET status = 'REVOKED'");
    cuttable.repeat(MESSAGES);
    assert_eq!(cuttable.rows(), ["20", "0", "0"]);
    assert_eq!(cuttable.pipeline.ended("duplicate"), 20);
}

#[test]
fn what_was_stored_is_not_refused_too_by_the_rate() {
    let mut cuttable =
        CuttablePipeline::new(&[("RATE_LIMIT_RPS", "0.001"), ("RATE_LIMIT_BURST", "20")]);
    cuttable.decide(&timed("p1", MESSAGES));
    cuttable.repeat(MESSAGES);
    assert_eq!(cuttable.rows(), ["20", "0", "0"]);
}

#[test]
fn what_the_rate_refused_is_not_stored_too() {
    let mut cuttable =
        CuttablePipeline::new(&[("RATE_LIMIT_RPS", "0.001"), ("RATE_LIMIT_BURST", "5")]);
    cuttable.decide(&timed("p1", MESSAGES));
    cuttable.repeat(MESSAGES);
    assert_eq!(cuttable.rows(), ["5", "15", "15"]);
}

#[test]
fn a_refused_message_is_not_stored_after_its_device_is_registered() {
    let mut cuttable = CuttablePipeline::new(&[]);
    cuttable.decide(&timed("stranger", MESSAGES));
    cuttable.change("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'stranger')");
    cuttable.repeat(MESSAGES);
    assert_eq!(cuttable.rows(), ["0", "20", "20"]);
    // What the device publishes again is a new message.
    cuttable.pipeline.send(&timed("stranger", MESSAGES));
    cuttable.pipeline.settle();
    assert_eq!(cuttable.rows(), ["20", "20", "20"]);
}

#[test]
fn what_is_refused_before_its_time_is_read_is_counted_once() {
    let mut cuttable = CuttablePipeline::new(&[("MAX_PAYLOAD_BYTES", "1000")]);
    let ts = sluice::clock::now().to_utc().to_rfc3339();
    let p1 = |payload: String| to("acme/device/p1/telemetry", payload);
    let ack = r#""command_id":"00000000-0000-4000-8000-000000000001","status":"done""#;
    let messages = [
        p1(format!(r#"{{"ts":"{ts}","metrics":{{"#)),
        p1(format!(r#"{{"ts":"{ts}","x":"{}"}}"#, "x".repeat(2_000))),
        to("acme/device/p1/a b", format!(r#"{{"ts":"{ts}"}}"#)),
        p1(format!(r#"{{"ts":"{ts}","metrics":[]}}"#)),
        to("acme/device/p1/commands/ack", format!(r#"{{"ts":"{ts}",{ack}}}"#)),
    ];
    cuttable.decide(&messages);
    cuttable.repeat(messages.len());
    assert_eq!(cuttable.rows(), ["0", "5", "5"]);
    assert_eq!(
        cuttable.pipeline.value("SELECT count(*) FROM quarantine_events WHERE event_ts IS NULL"),
        "0"
    );
}

#[test]
fn a_flood_is_counted_once_also_when_the_daemon_is_killed_before_the_ack() {
    let mut cuttable = CuttablePipeline::new(&[("QUARANTINE_MAX_PER_MINUTE", "10")]);
    let made_up = |message: &Message| {
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        let ack = r#"{"command_id":"00000000-0000-4000-8000-000000000001","#;
        to("acme/device/p1/commands/ack", payload.replacen('{', ack, 1))
    };
    let mut messages = timed("stranger", 200);
    messages.extend(timed("p1", 100).iter().map(made_up));
    cuttable.decide(&messages);
    let kept = cuttable.pipeline.value(REFUSED);
    assert_eq!(cuttable.rows(), ["0", kept.as_str(), "300"]);
    assert!(kept.parse::<u64>().unwrap() < 100, "{kept} are kept");
    cuttable.pipeline.daemon.kill9();
    cuttable.proxy.cut();
    cuttable.proxy.release(Direction::ToServer);
    cuttable.pipeline.daemon.start_again();
    cuttable.pipeline.daemon.wait_ready();
    cuttable.pipeline.daemon.wait_metric("sluice_messages_total{result=\"duplicate\"}", 300.0);
    assert_eq!(cuttable.rows(), ["0", kept.as_str(), "300"]);
}
