//! Inspects the broker as the session would find it: reachable, subscription granted, messages
//! delivered, window.
//!
//! It never uses `MQTT_CLIENT_ID`, which would take the session from a running daemon. It never
//! joins `MQTT_SHARE_GROUP`, whose messages it would receive and lose. It leaves nothing at the
//! broker.

use super::inspect_findings::{
    ProbeReceipt, SCRATCH, ShareReceipt, judge_share, judge_sys_values, judge_window,
};
use super::inspect_writes::try_writes;
use super::inspector_connection::InspectorConnection;
use super::publisher::MqttPublisher;
use crate::broker::error::BrokerError;
use crate::broker::exchange::needed_writes::NeededWrite;
use crate::broker::transport::outgoing::DROPPED_TOPIC;
use crate::config::sections::broker::{BrokerConfig, SHARE_PREFIX};
use crate::domain::finding::Finding;
use crate::domain::topic::{MessageKind, Topic};

/// Most messages of the window measurement.
const WINDOW_MESSAGES: usize = 2000;

/// They are published in steps, until a whole step delivers nothing: then two steps are queued at
/// the broker, far below its limit (`max_queued_messages` is 1000 by default), so none is dropped.
const WINDOW_STEP: usize = 100;

/// Unanswered messages of the publishing connection.
const PUBLISHER_WINDOW: u16 = 50;

/// Messages to the members of a group of the inspection's own.
const SHARED_MESSAGES: usize = 4;

const VERSION_TOPIC: &str = "$SYS/broker/version";
const UPTIME_TOPIC: &str = "$SYS/broker/uptime";

/// Longest text shown of a `$SYS` message.
const MAX_CHARS: usize = 100;

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
        let connection = self.connect("guest", 1).await?;
        let abilities = connection.connack().abilities;
        connection.close().await;
        let BrokerConfig { host, port, topic, .. } = self.config;
        let over = if self.config.tls.is_some() { "TLS" } else { "plain TCP" };
        let login = self
            .config
            .username
            .as_ref()
            .map_or("without a user name".to_owned(), |name| format!("as {name}"));
        let mut findings = vec![Finding::ok(format!(
            "{host}:{port} accepts MQTT 5 connections over {over}, {login}"
        ))];
        if abilities.max_qos == 0 {
            findings.push(Finding::error(
                "the broker supports only QoS 0, where messages may be lost",
                "allow QoS 1 (max_qos in mosquitto.conf)",
            ));
        }
        if !abilities.wildcards && topic.contains(['+', '#']) {
            findings.push(Finding::error(
                "the broker has no wildcard subscriptions, and MQTT_TOPIC needs one",
                "use a broker that has wildcard subscriptions",
            ));
        }
        findings.push(if !abilities.shared && self.config.share_group.is_some() {
            Finding::error(
                "the broker has no shared subscriptions, and MQTT_SHARE_GROUP is set",
                "unset MQTT_SHARE_GROUP and run one instance",
            )
        } else {
            let has = |able| if able { "has" } else { "has no" };
            let (shared, retained) = (has(abilities.shared), has(abilities.retained));
            Finding::ok(format!(
                "the broker {shared} shared subscriptions and {retained} retained messages"
            ))
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
        let mut connection = self.connect("guest", 1).await?;
        let granted = connection.subscribe(&filter, false).await;
        connection.close().await;
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
            return Ok(vec![Finding::ok(format!(
                "not checked: the daemon would store a test message published to {wanted}"
            ))]);
        };
        let seen = self.publish_and_count(&topic, 1, 1).await?;
        Ok(vec![match seen {
            None => Finding::warning(
                format!(
                    "not checked: this user may not write to {topic}; Sluice does not need that right"
                ),
                format!(
                    "check whether sluice_messages_received_total grows, \
                     or let the user write to {SCRATCH}/# and to tenant/+/device/+/errors"
                ),
            ),
            Some(ProbeReceipt { arrived: 0, .. }) => Finding::error(
                format!(
                    "the broker grants {wanted} and withholds its messages: \
                     one published to {topic} did not come back"
                ),
                format!(
                    "let this user read it in the broker's access rules \
                     (Mosquitto's acl_file: topic read {wanted})"
                ),
            ),
            Some(_) => Finding::ok(format!("a message published to {topic} came back")),
        }])
    }

    /// Checks that a shared subscription delivers: a broker may grant one and take it as a plain name.
    /// No finding without `MQTT_SHARE_GROUP`.
    pub async fn share_group(&self) -> BrokerCheck {
        let Some(group) = &self.config.share_group else { return Ok(Vec::new()) };
        let scratch = format!("{SCRATCH}/{}", self.mark);
        let topic = ignored_topic(&self.config.topic, &self.mark).unwrap_or(scratch);
        // A group of its own: the members of MQTT_SHARE_GROUP keep all their messages.
        let filter = format!("{SHARE_PREFIX}{group}-doctor-{}/{topic}", self.mark);
        let mut members = Vec::with_capacity(2);
        for role in ["member-1", "member-2"] {
            let mut member = self.connect(role, u16::MAX).await?;
            match member.subscribe(&filter, false).await? {
                0..=2 => members.push(member),
                code => return Err(BrokerError::SubscriptionRefused { filter, code }),
            }
        }
        let mut plain = self.connect("reader", u16::MAX).await?;
        plain.subscribe(&topic, false).await?;
        let mut writer = MqttPublisher::connect(&self.guest("writer"), PUBLISHER_WINDOW).await?;
        for _ in 0..SHARED_MESSAGES {
            writer.publish(&topic, &b"{}"[..]).await?;
        }
        let refused = writer.drain().await?.refused;
        writer.close().await?;
        let plain_count = plain.gather(SHARED_MESSAGES).await?;
        plain.close().await;
        let mut shares = Vec::with_capacity(members.len());
        for mut member in members {
            shares.push(member.gather(SHARED_MESSAGES).await?);
            member.close().await;
        }
        let receipt = ShareReceipt { refused: refused > 0, plain: plain_count, shares };
        Ok(vec![judge_share(SHARED_MESSAGES, &topic, &receipt)])
    }

    /// Measures how many messages the broker sends before the first acknowledgement.
    pub async fn window(&self) -> BrokerCheck {
        let topic = format!("{SCRATCH}/{}", self.mark);
        let seen =
            self.publish_and_count(&topic, WINDOW_MESSAGES, self.config.receive_maximum).await?;
        let receive_maximum = usize::from(self.config.receive_maximum);
        Ok(vec![judge_window(receive_maximum, self.needed_window, &topic, seen)])
    }

    /// Tries each message that the daemon must be able to publish.
    pub async fn writes(&self, writes: &[NeededWrite]) -> BrokerCheck {
        try_writes(&self.guest("writer"), writes).await
    }

    /// Reports the values that the broker publishes about itself.
    pub async fn sys_values(&self) -> BrokerCheck {
        let mut connection = self.connect("guest", u16::MAX).await?;
        let topics = [VERSION_TOPIC, UPTIME_TOPIC, DROPPED_TOPIC];
        for topic in topics {
            connection.subscribe(topic, true).await?;
        }
        connection.gather(topics.len()).await?;
        let value = |topic: &str| {
            let message = connection.messages().iter().rfind(|message| message.topic == topic)?;
            let text = String::from_utf8_lossy(&message.payload);
            Some(text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect())
        };
        let values: [Option<String>; 3] = topics.map(value);
        connection.close().await;
        Ok(judge_sys_values(values))
    }

    /// Publishes messages without acknowledging any, until none arrives. `None`: the broker
    /// accepted none.
    async fn publish_and_count(
        &self,
        topic: &str,
        most: usize,
        window: u16,
    ) -> Result<Option<ProbeReceipt>, BrokerError> {
        let mut reader = self.connect("reader", window).await?;
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
        reader.close().await;
        Ok(Some(seen))
    }

    async fn connect(
        &self,
        role: &str,
        receive_maximum: u16,
    ) -> Result<InspectorConnection, BrokerError> {
        InspectorConnection::open(&self.guest(role), receive_maximum).await
    }

    /// The settings with another client id, which starts like the daemon's, as a broker may
    /// require.
    fn guest(&self, role: &str) -> BrokerConfig {
        let client_id = format!("{}-doctor-{}-{role}", self.config.client_id, self.mark);
        BrokerConfig { client_id, ..self.config.clone() }
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

#[cfg(test)]
mod tests {
    use super::*;

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
