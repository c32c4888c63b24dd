//! Inspects the broker as the session would find it: reachable, subscription granted, messages
//! delivered, window.
//!
//! It never uses `MQTT_CLIENT_ID`, which would take the session from a running daemon. It never
//! joins `MQTT_SHARE_GROUP`, whose messages it would receive and lose. It leaves nothing at the
//! broker.

use std::time::Duration;

use tokio::time::timeout;

use super::publisher::MqttPublisher;
use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::{ANSWER_TIMEOUT, MqttStream};
use crate::broker::transport::outgoing::{self, DROPPED_TOPIC};
use crate::broker::transport::packets::{ConnAck, Incoming, Publish};
use crate::config::sections::broker::BrokerConfig;
use crate::domain::finding::Finding;
use crate::domain::topic::{MessageKind, Topic};

/// Most messages of the window measurement.
const WINDOW_MESSAGES: usize = 2000;

/// They are published in steps, until a whole step delivers nothing: then two steps are queued at
/// the broker, far below its limit (`max_queued_messages` is 1000 by default), so none is dropped.
const WINDOW_STEP: usize = 100;

/// After this long without a message, no more are expected.
const QUIET: Duration = Duration::from_secs(2);

/// Unanswered messages of the publishing connection.
const PUBLISHER_WINDOW: u16 = 50;

/// Topic of the window measurement; the access rules must let this user read and write below it.
const SCRATCH: &str = "sluice/doctor";

const VERSION_TOPIC: &str = "$SYS/broker/version";
const UPTIME_TOPIC: &str = "$SYS/broker/uptime";

/// Several findings, or why there is none.
pub type BrokerCheck = Result<Vec<Finding>, BrokerError>;

/// Inspections of one broker.
#[derive(Debug)]
pub struct Inspector<'a> {
    config: &'a BrokerConfig,
    /// Messages of two full batches.
    needed_window: usize,
    /// Distinguishes this run from others.
    mark: String,
}

/// One connection.
struct Visit {
    link: MqttStream,
    incoming: Vec<Incoming>,
    messages: Vec<Publish>,
    welcome: ConnAck,
}

/// Result of the window measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ProbeReceipt {
    arrived: usize,
    /// Whether the number stayed there with more published.
    is_bound: bool,
}

// === impl Inspector ===

impl<'a> Inspector<'a> {
    /// An inspection of this broker; `needed_window` is the number of messages in the batches in
    /// flight.
    pub fn new(config: &'a BrokerConfig, needed_window: usize) -> Self {
        let mark = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self { config, needed_window, mark }
    }

    /// Checks name, TCP, TLS and login, and reports the broker's features.
    pub async fn connection(&self) -> BrokerCheck {
        let visit = self.visit("guest", 1).await?;
        let abilities = visit.welcome.abilities;
        visit.leave().await;
        let BrokerConfig { host, port, share_group, topic, .. } = self.config;
        let over = if self.config.tls.is_some() { "TLS" } else { "plain TCP" };
        let login = self
            .config
            .username
            .as_ref()
            .map_or("without a user name".to_owned(), |name| format!("as {name}"));
        let mut findings = vec![Finding::ok(format!(
            "{host}:{port} takes MQTT 5 connections over {over}, {login}"
        ))];
        if abilities.max_qos == 0 {
            let advice = "allow QoS 1 (max_qos in mosquitto.conf)";
            findings
                .push(Finding::error("it takes only QoS 0, where messages may be lost", advice));
        }
        if !abilities.wildcards && topic.contains(['+', '#']) {
            findings
                .push(Finding::error("it has no wildcard subscriptions", "use a broker that has"));
        }
        findings.push(match (abilities.shared, share_group) {
            (false, Some(_)) => Finding::error(
                "it has no shared subscriptions, and MQTT_SHARE_GROUP is set",
                "unset MQTT_SHARE_GROUP and run one instance",
            ),
            (shared, _) => {
                let has = |able| if able { "has" } else { "has no" };
                let retained = has(abilities.retained);
                Finding::ok(format!(
                    "it {} shared subscriptions and {retained} retained messages",
                    has(shared)
                ))
            }
        });
        Ok(findings)
    }

    /// Checks that the session's subscription would be granted; at most one message arrives
    /// unacknowledged.
    pub async fn subscription(&self) -> BrokerCheck {
        let filter = match &self.config.share_group {
            Some(group) => format!("$share/{group}-doctor-{}/{}", self.mark, self.config.topic),
            None => self.config.topic.clone(),
        };
        let mut visit = self.visit("guest", 1).await?;
        let granted = visit.subscribe(&filter, false).await;
        visit.leave().await;
        match granted? {
            1 | 2 => Ok(vec![Finding::ok(format!("{filter} is granted at QoS 1"))]),
            0 => Err(BrokerError::Downgraded { filter }),
            code => Err(BrokerError::SubscriptionRefused { filter, code }),
        }
    }

    /// Checks that a granted subscription delivers: an access rule in Mosquitto's `acl_file`
    /// withholds messages and refuses no subscription. The daemon ignores the test message.
    pub async fn delivery(&self) -> BrokerCheck {
        let wanted = &self.config.topic;
        let Some(topic) = ignored_topic(wanted, &self.mark) else {
            let why =
                format!("not tried: the daemon would store whatever is published to {wanted}");
            return Ok(vec![Finding::ok(why)]);
        };
        let seen = self.publish_and_count(&topic, 1, 1).await?;
        Ok(vec![match seen {
            None => Finding::warning(
                format!(
                    "not shown: this user may not write to {topic}, which is no fault by itself"
                ),
                format!(
                    "look whether sluice_messages_received_total grows, or let the user write to {SCRATCH}/# and to \
                     tenant/+/device/+/errors"
                ),
            ),
            Some(ProbeReceipt { arrived: 0, .. }) => Finding::error(
                format!(
                    "the broker grants {wanted} and withholds its messages: one published to {topic} did not come back"
                ),
                format!(
                    "its access rules must let this user read it; in Mosquitto's acl_file: topic read {wanted}"
                ),
            ),
            Some(_) => Finding::ok(format!("a message published to {topic} came back")),
        }])
    }

    /// Measures how many messages the broker sends before the first acknowledgement.
    pub async fn window(&self) -> BrokerCheck {
        let topic = format!("{SCRATCH}/{}", self.mark);
        let seen =
            self.publish_and_count(&topic, WINDOW_MESSAGES, self.config.receive_maximum).await?;
        Ok(vec![self.judge_window(&topic, seen)])
    }

    /// Reports the broker's `$SYS` values.
    pub async fn own_words(&self) -> BrokerCheck {
        let mut visit = self.visit("guest", u16::MAX).await?;
        let topics = [VERSION_TOPIC, UPTIME_TOPIC, DROPPED_TOPIC];
        for topic in topics {
            visit.subscribe(topic, true).await?;
        }
        visit.gather(topics.len()).await?;
        let said = |topic: &str| {
            let message = visit.messages.iter().rfind(|message| message.topic == topic)?;
            Some(
                String::from_utf8_lossy(&message.payload)
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(100)
                    .collect(),
            )
        };
        let said: [Option<String>; 3] = topics.map(said);
        visit.leave().await;
        Ok(judge_own_words(said))
    }

    /// Publishes messages without acknowledging any, until no more arrive. `None`: the broker
    /// accepted none.
    async fn publish_and_count(
        &self,
        topic: &str,
        most: usize,
        window: u16,
    ) -> Result<Option<ProbeReceipt>, BrokerError> {
        let mut reader = self.visit("reader", window).await?;
        match reader.subscribe(topic, false).await? {
            1 | 2 => {}
            0 => return Err(BrokerError::Downgraded { filter: topic.to_owned() }),
            code => {
                return Err(BrokerError::SubscriptionRefused { filter: topic.to_owned(), code });
            }
        }
        let mut writer = MqttPublisher::connect(&self.guest("writer"), PUBLISHER_WINDOW).await?;
        let (mut seen, mut published, mut held_back) = (ProbeReceipt::default(), 0, 0);
        while published < most && !seen.is_bound {
            for _ in 0..WINDOW_STEP.min(most - published) {
                writer.publish(topic, &b"{}"[..]).await?;
                published += 1;
            }
            if writer.drain().await?.refused > 0 {
                return Ok(None);
            }
            // A broker may be a message or two behind without a limit; that wait happens only once.
            let arrived = reader.gather(published - held_back).await?;
            seen = ProbeReceipt { arrived, is_bound: arrived == seen.arrived };
            held_back = held_back.max(published - arrived);
        }
        writer.close().await?;
        reader.leave().await;
        Ok(Some(seen))
    }

    fn judge_window(&self, topic: &str, seen: Option<ProbeReceipt>) -> Finding {
        let receive_maximum = usize::from(self.config.receive_maximum);
        let needed = self.needed_window;
        let rule = format!(
            "let this user read and write {SCRATCH}/# (Mosquitto's acl_file: topic readwrite {SCRATCH}/#)"
        );
        match seen {
            None => Finding::warning(
                format!("not measured: the broker refuses what this user writes to {topic}"),
                rule,
            ),
            Some(ProbeReceipt { arrived: 0, .. }) => Finding::warning(
                format!("not measured: nothing that was published to {topic} came back"),
                rule,
            ),
            Some(ProbeReceipt { arrived, .. }) if arrived > receive_maximum => Finding::warning(
                format!(
                    "the broker does not keep to MQTT_RECEIVE_MAXIMUM={receive_maximum}: {arrived} came unacknowledged"
                ),
                "update it (Mosquitto: 2.0.13 or later); until then memory is bounded by not reading",
            ),
            Some(ProbeReceipt { arrived, is_bound: false }) => Finding::ok(format!(
                "at least {arrived} messages are sent before the first is acknowledged \
                 (MQTT_RECEIVE_MAXIMUM={receive_maximum})"
            )),
            Some(ProbeReceipt { arrived, .. }) if arrived < needed.min(receive_maximum) => {
                Finding::warning(
                    format!(
                        "the broker sends only {arrived} messages before the first is acknowledged, whatever \
                     MQTT_RECEIVE_MAXIMUM={receive_maximum} says; two full batches hold {needed}"
                    ),
                    format!(
                        "raise max_inflight_messages in mosquitto.conf to {receive_maximum}, or lower BATCH_SIZE"
                    ),
                )
            }
            Some(ProbeReceipt { arrived, .. }) => Finding::ok(format!(
                "{arrived} messages are sent before the first is acknowledged (MQTT_RECEIVE_MAXIMUM={receive_maximum}); \
                 two full batches hold {needed}"
            )),
        }
    }

    async fn visit(&self, role: &str, receive_maximum: u16) -> Result<Visit, BrokerError> {
        let config = self.guest(role);
        let connect = outgoing::inspector_connect(&config, receive_maximum)?;
        let mut link = MqttStream::open(&config).await?;
        let mut incoming = Vec::new();
        let welcome = link.send_connect(&connect, &mut incoming).await?;
        Ok(Visit { link, incoming, messages: Vec::new(), welcome })
    }

    /// The settings with another client id, which starts like the daemon's, as a broker may
    /// require.
    fn guest(&self, role: &str) -> BrokerConfig {
        let client_id = format!("{}-doctor-{}-{role}", self.config.client_id, self.mark);
        BrokerConfig { client_id, ..self.config.clone() }
    }
}

// === impl Visit ===

impl Visit {
    /// Subscribes; returns the code of the answer.
    async fn subscribe(&mut self, filter: &str, wants_retained: bool) -> Result<u8, BrokerError> {
        self.link.write(&outgoing::inspector_subscribe(filter, wants_retained)?).await?;
        let answer = timeout(ANSWER_TIMEOUT, async {
            loop {
                if let Some(code) = self.hear().await? {
                    return Ok(code);
                }
            }
        });
        let late = BrokerError::NoAnswer { packet: "SUBSCRIBE", seconds: ANSWER_TIMEOUT.as_secs() };
        answer.await.unwrap_or(Err(late))
    }

    /// Waits until `wanted` messages have arrived or no more do; returns their number.
    async fn gather(&mut self, wanted: usize) -> Result<usize, BrokerError> {
        while self.messages.len() < wanted {
            let Ok(heard) = timeout(QUIET, self.hear()).await else { break };
            heard?;
        }
        Ok(self.messages.len())
    }

    /// Takes the packets that have arrived, or waits; returns the code of a SUBACK.
    async fn hear(&mut self) -> Result<Option<u8>, BrokerError> {
        if self.incoming.is_empty() {
            self.link.drain(&mut self.incoming).await?;
        }
        let mut answer = None;
        for packet in self.incoming.drain(..) {
            match packet {
                Incoming::Publish(message) => self.messages.push(message),
                Incoming::SubAck { codes, .. } => answer = codes.first().copied(),
                Incoming::Disconnect(farewell) => return Err(BrokerError::Dismissed(farewell)),
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Disconnects; the broker drops the session and its messages.
    async fn leave(self) {
        self.link.close(&outgoing::DISCONNECT).await;
    }
}

// --- private helpers ---

/// A topic under the filter that the daemon ignores as the platform's own; `None` if there is none.
fn ignored_topic(filter: &str, mark: &str) -> Option<String> {
    let name = format!("sluice-doctor-{mark}");
    let level = |level| match level {
        "+" => name.clone(),
        "#" => "errors".to_owned(),
        word => word.to_owned(),
    };
    let topic = filter.split('/').map(level).collect::<Vec<_>>().join("/");
    let is_ignored =
        Topic::parse(topic.as_bytes()).is_ok_and(|parsed| parsed.kind == MessageKind::Platform);
    is_ignored.then_some(topic)
}

fn judge_own_words([version, uptime, dropped]: [Option<String>; 3]) -> Vec<Finding> {
    let advice =
        "let this user read $SYS/broker/# (Mosquitto's acl_file: topic read $SYS/broker/#)";
    let mut findings = vec![match (&version, &uptime) {
        (None, None) => Finding::warning(
            "nothing is heard under $SYS: the broker has none, or this user may not",
            advice,
        ),
        _ => Finding::ok(format!(
            "it is {}, up for {}",
            version.as_deref().unwrap_or("of an unknown version"),
            uptime.as_deref().unwrap_or("an unknown time")
        )),
    }];
    let is_heard = version.is_some() || uptime.is_some();
    findings.push(match dropped.as_deref().map(str::trim) {
        // Mosquitto publishes a number when it changes, keeps it for a minute, and publishes none
        // at zero.
        None if is_heard => Finding::ok("it has dropped no message in the last minute, as far as it says"),
        None => {
            Finding::warning(format!("{DROPPED_TOPIC} is not heard: messages that are dropped go unnoticed"), advice)
        }
        Some("0") => Finding::ok("it has dropped no message since it started"),
        Some(count) => Finding::warning(
            format!("it has dropped {count} messages since it started, of this or of other subscribers"),
            "raise max_queued_messages and max_queued_bytes in mosquitto.conf, and look whether a session is forgotten",
        ),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::finding::Severity;

    #[test]
    fn a_window_is_a_warning_only_when_it_binds_below_two_batches() {
        let broker = Config::load(&Sources::default()).unwrap().config.broker;
        let broker = BrokerConfig { receive_maximum: 1500, ..broker };
        let inspector = Inspector::new(&broker, 1000);
        let judge = |arrived, is_bound| {
            inspector.judge_window("t", Some(ProbeReceipt { arrived, is_bound }))
        };
        for (arrived, is_bound, level, words) in [
            (20, true, Severity::Warning, "only 20 messages"),
            (1200, true, Severity::Ok, "1200 messages are sent"),
            (1500, true, Severity::Ok, "1500 messages are sent"),
            (1499, false, Severity::Ok, "at least 1499"),
            (2000, false, Severity::Warning, "does not keep to MQTT_RECEIVE_MAXIMUM=1500"),
            (0, true, Severity::Warning, "nothing that was published"),
        ] {
            let finding = judge(arrived, is_bound);
            assert!(
                finding.level == level && finding.what.contains(words),
                "{arrived}: {finding:?}"
            );
        }
        let narrow = judge(20, true);
        assert!(narrow.advice.unwrap().contains("max_inflight_messages in mosquitto.conf to 1500"));
    }

    #[test]
    fn a_broker_that_speaks_of_itself_and_not_of_drops_is_well() {
        let said = |version: Option<&str>, dropped: Option<&str>| {
            let findings =
                judge_own_words([version, None, dropped].map(|word| word.map(str::to_owned)));
            findings.iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(said(Some("2.0.11"), None), [Severity::Ok, Severity::Ok]);
        assert_eq!(said(Some("2.0.11"), Some("0")), [Severity::Ok, Severity::Ok]);
        assert_eq!(said(Some("2.0.11"), Some("7")), [Severity::Ok, Severity::Warning]);
        assert_eq!(said(None, None), [Severity::Warning, Severity::Warning]);
    }

    #[test]
    fn only_a_topic_the_daemon_ignores_is_published_to() {
        let topic = ignored_topic("tenant/+/device/+/#", "1");
        assert_eq!(topic.as_deref(), Some("tenant/sluice-doctor-1/device/sluice-doctor-1/errors"));
        let topic = ignored_topic("tenant/acme/device/+/#", "1");
        assert_eq!(topic.as_deref(), Some("tenant/acme/device/sluice-doctor-1/errors"));
        assert_eq!(ignored_topic("tenant/+/device/+/telemetry", "1"), None);
        assert_eq!(ignored_topic("#", "1"), None);
        assert_eq!(ignored_topic("tenant/#", "1"), None);
    }
}
