//! A daemon between a broker and a database, a device that publishes, and a wait until each message
//! has reached its end. The tests state what the end should be.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::daemon::Daemon;
use crate::support::database::Database;
use crate::support::device::{Device, Fate, Message};
use crate::support::mosquitto::Mosquitto;
use crate::support::test_daemon::{TestDaemon, TestDaemonBuilder};
use crate::support::wait;

/// Settings under which every registered device is authenticated.
pub const TRUSTING: [(&str, &str); 1] = [("REQUIRE_TOKEN", "0")];

/// What every message ends in, once.
const ENDS: &str = "sluice_messages_total";

/// All of it; the daemon goes first.
pub struct Pipeline {
    pub daemon: Daemon,
    pub device: Device,
    pub database: Database<'static>,
    pub broker: Mosquitto,
    sent: f64,
}

// === impl Pipeline ===

impl Pipeline {
    /// A ready daemon with these settings, on a registry that this SQL fills.
    pub fn new(settings: &[(&str, &str)], registry: &str) -> Self {
        Self::of(TestDaemon::builder().broker(), settings, registry)
    }

    /// The same with a broker that already runs.
    pub fn beside(broker: Mosquitto, settings: &[(&str, &str)], registry: &str) -> Self {
        Self::of(TestDaemon::builder().on_broker(broker), settings, registry)
    }

    fn of(
        start: TestDaemonBuilder<Mosquitto, ()>,
        settings: &[(&str, &str)],
        registry: &str,
    ) -> Self {
        let TestDaemon { daemon, database, broker, .. } =
            start.registry(registry).with(settings).start_ready();
        let device = Device::connect(broker.port(), "device");
        Self { daemon, device, database, broker, sent: 0.0 }
    }

    /// Publishes one message to `tenant/<path>`.
    pub fn publish(&mut self, path: &str, payload: impl AsRef<[u8]>) {
        self.send(&[to(path, payload)]);
    }

    /// Publishes all of these; the broker must take each.
    pub fn send(&mut self, messages: &[Message]) {
        let fates = self.device.publish_all(messages);
        assert!(fates.iter().all(|fate| *fate == Fate::Accepted), "{fates:?}");
        self.expect(messages.len());
    }

    /// This many messages are on their way in addition to those this pipeline has sent.
    #[expect(clippy::cast_precision_loss, reason = "a test sends far fewer than 2^52 messages")]
    pub fn expect(&mut self, messages: usize) {
        self.sent += messages as f64;
    }

    /// Waits until each message has come to exactly one end.
    pub fn settle(&self) {
        self.daemon.wait_metric(ENDS, self.sent);
        assert!((self.daemon.metric(ENDS) - self.sent).abs() < 0.5, "more ends than messages");
    }

    /// How many messages came to this end.
    #[expect(clippy::cast_possible_truncation, reason = "a count")]
    pub fn ended(&self, result: &str) -> i64 {
        self.daemon.metric(&format!("{ENDS}{{result=\"{result}\"}}")) as i64
    }

    /// The value of SQL's first column in the first row.
    pub fn value(&self, sql: &str) -> String {
        self.database.value(sql)
    }

    /// Pairs of texts, such as a message type and what became of it.
    pub fn pairs(&self, sql: &str) -> Vec<(String, String)> {
        let rows = self.database.query(sql).into_iter();
        rows.map(|row| <[String; 2]>::try_from(row).unwrap().into()).collect()
    }

    /// The only row of `quarantine_events` where this holds, its payload as text.
    pub fn refused(&self, condition: &str) -> Value {
        let columns = "to_jsonb(q) - 'payload' || jsonb_build_object('payload', encode(payload, 'escape')) AS row";
        let rows = self
            .database
            .json(&format!("SELECT {columns} FROM quarantine_events q WHERE {condition}"));
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), 1, "{condition}: {rows:#?}");
        rows[0]["row"].clone()
    }

    /// The reason and detail of each quarantined message, by type, in order.
    pub fn refusals(&self) -> Vec<(String, String)> {
        self.pairs("SELECT msg_type, reason || ': ' || detail FROM quarantine_events ORDER BY 1, 2")
    }

    /// The connection was never lost and the daemon is ready: nothing that was sent has harmed
    /// anything else.
    pub fn assert_unharmed(&self) {
        assert!(self.daemon.metric("sluice_mqtt_reconnects_total") < 0.5, "{}", wait::log_tails());
        assert!(self.daemon.metric("sluice_db_retries_total") < 0.5, "{}", wait::log_tails());
        self.daemon.wait_ready();
    }
}

/// A message of QoS 1 to `tenant/<path>`.
pub fn to(path: &str, payload: impl AsRef<[u8]>) -> Message {
    Message::new(format!("tenant/{path}"), payload)
}

/// The hash a registry keeps of a token.
pub fn sha256(token: &str) -> String {
    Sha256::digest(token).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Compares two lists so that a failure names the lines that differ.
pub fn assert_same(found: &[(String, String)], expected: &[(String, String)]) {
    let without = |all: &[(String, String)], others: &[(String, String)]| {
        let lines: Vec<String> = all
            .iter()
            .filter(|line| !others.contains(line))
            .map(|line| format!("  {line:?}"))
            .collect();
        lines.join("\n")
    };
    let (extra, missing) = (without(found, expected), without(expected, found));
    assert!(
        extra.is_empty() && missing.is_empty(),
        "found only:\n{extra}expected only:\n{missing}"
    );
    assert_eq!(found.len(), expected.len(), "some stand there twice: {found:#?}");
}

/// Owned pairs, sorted.
pub fn sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let mut owned: Vec<_> =
        pairs.into_iter().map(|(one, other)| (one.to_owned(), other.to_owned())).collect();
    owned.sort();
    owned
}
