//! What the other broker accepts, known before the first packet: a preset for each kind. The links
//! file and CONNACK lower it, and never raise it.
//!
//! It sends nothing.

use crate::link::kind::LinkKind;

/// What the other broker accepts of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Largest packet, in bytes.
    pub packet_bytes: usize,
    /// Largest payload, in bytes.
    pub payload_bytes: usize,
    /// Highest QoS.
    pub max_qos: u8,
    /// Longest keepalive, in seconds.
    pub keepalive_seconds: u16,
    /// Most messages a second.
    pub rate: u32,
    /// Most bytes a second.
    pub bytes_per_second: u32,
    /// Most messages without an acknowledgement.
    pub unacked: u16,
    /// Most bytes without an acknowledgement.
    pub unacked_bytes: usize,
    /// Longest topic, in bytes.
    pub topic_bytes: usize,
    /// Most levels of a topic.
    pub topic_levels: usize,
    /// Most bytes of all user properties of a message.
    pub user_property_bytes: usize,
    /// Most filters of one SUBSCRIBE.
    pub filters_per_subscribe: usize,
    /// Most filters of a session.
    pub filters: usize,
    /// Longest session expiry, in seconds.
    pub session_expiry_seconds: u32,
}

/// Most bytes without an acknowledgement where the other broker names no bound: they are in memory
/// twice, and a slow line must carry them before their answers are overdue.
const UNACKED_BYTES: usize = 4 * 1024 * 1024;

/// Azure Event Grid.
const EVENT_GRID: LinkLimits = LinkLimits {
    packet_bytes: 512 * 1024,
    payload_bytes: 512 * 1024,
    max_qos: 1,
    keepalive_seconds: 1160,
    rate: 1000,
    bytes_per_second: 1024 * 1024,
    unacked: 1000,
    unacked_bytes: 64 * 1024,
    topic_bytes: 256,
    topic_levels: 8,
    user_property_bytes: 32 * 1024,
    filters_per_subscribe: 8,
    filters: 50,
    session_expiry_seconds: 8 * 3600,
};

/// AWS IoT Core.
const AWS_IOT: LinkLimits = LinkLimits {
    packet_bytes: 146 * 1024,
    payload_bytes: 128 * 1024,
    max_qos: 1,
    keepalive_seconds: 1200,
    rate: 100,
    bytes_per_second: 512 * 1024,
    unacked: 100,
    unacked_bytes: UNACKED_BYTES,
    topic_bytes: 256,
    topic_levels: 8,
    user_property_bytes: 8 * 1024,
    filters_per_subscribe: 8,
    filters: 50,
    session_expiry_seconds: 7 * 86_400,
};

/// Any broker: what MQTT allows.
const MQTT: LinkLimits = LinkLimits {
    packet_bytes: 268_435_460,
    payload_bytes: 268_435_455,
    max_qos: 1,
    keepalive_seconds: u16::MAX,
    rate: u32::MAX,
    bytes_per_second: u32::MAX,
    unacked: u16::MAX,
    unacked_bytes: UNACKED_BYTES,
    topic_bytes: 65_535,
    topic_levels: 200,
    user_property_bytes: 65_535,
    filters_per_subscribe: 8,
    filters: 1000,
    session_expiry_seconds: u32::MAX - 1,
};

/// The keepalive of a link whose table has none, in seconds: shorter than the idle limit of most
/// NATs.
const KEEPALIVE_SECONDS: u16 = 60;

/// The most unacknowledged messages of a link whose table has none.
const UNACKED: u16 = 1000;

/// Below this prefix AWS IoT Core passes a message to one of its rules. The prefix and the name of
/// the rule do not count for the limits of a topic.
pub const BASIC_INGEST: &str = "$aws/rules/";

/// Why a topic cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicLimit {
    /// Longer than `topic_bytes`.
    #[error("the topic has {found} bytes, at most {allowed} are allowed")]
    Bytes {
        /// Its bytes.
        found: usize,
        /// The most.
        allowed: usize,
    },
    /// Deeper than `topic_levels`.
    #[error("the topic has {found} levels, at most {allowed} are allowed")]
    Levels {
        /// Its levels.
        found: usize,
        /// The most.
        allowed: usize,
    },
}

// === impl LinkLimits ===

impl LinkLimits {
    /// The preset of a kind: the most that a link may use.
    pub const fn of(kind: LinkKind) -> Self {
        match kind {
            LinkKind::EventGrid => EVENT_GRID,
            LinkKind::AwsIot => AWS_IOT,
            LinkKind::Mqtt => MQTT,
        }
    }

    /// The limits of a link whose table sets none: the preset, with a usual keepalive, session
    /// expiry and window.
    pub fn default_of(kind: LinkKind) -> Self {
        let preset = Self::of(kind);
        let session_expiry_seconds = match kind {
            LinkKind::EventGrid | LinkKind::AwsIot => 3600,
            LinkKind::Mqtt => 7 * 86_400,
        };
        Self {
            keepalive_seconds: preset.keepalive_seconds.min(KEEPALIVE_SECONDS),
            unacked: preset.unacked.min(UNACKED),
            session_expiry_seconds,
            ..preset
        }
    }

    /// Checks the length and the depth of a topic at a broker of this kind.
    pub fn check_topic(&self, kind: LinkKind, topic: &str) -> Result<(), TopicLimit> {
        let counted = match topic.strip_prefix(BASIC_INGEST) {
            Some(behind) if kind == LinkKind::AwsIot => {
                behind.split_once('/').map_or("", |(_rule, topic)| topic)
            }
            _ => topic,
        };
        if counted.len() > self.topic_bytes {
            return Err(TopicLimit::Bytes { found: counted.len(), allowed: self.topic_bytes });
        }
        let found = counted.split('/').count();
        if found > self.topic_levels {
            return Err(TopicLimit::Levels { found, allowed: self.topic_levels });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_as_long_and_as_deep_as_the_cloud_allows() {
        let aws = LinkLimits::of(LinkKind::AwsIot);
        let check = |topic: &str| aws.check_topic(LinkKind::AwsIot, topic);
        assert_eq!(check("a/b/c/d/e/f/g/h"), Ok(()));
        assert_eq!(check("a/b/c/d/e/f/g/h/i"), Err(TopicLimit::Levels { found: 9, allowed: 8 }));
        assert_eq!(check("$aws/rules/my_rule/a/b/c/d/e/f/g/h"), Ok(()));
        assert_eq!(check(&"x".repeat(257)), Err(TopicLimit::Bytes { found: 257, allowed: 256 }));
        let of_rule = format!("$aws/rules/r/{}", "x".repeat(256));
        assert_eq!(check(&of_rule), Ok(()));
        let elsewhere = LinkLimits { topic_bytes: 256, ..LinkLimits::of(LinkKind::Mqtt) };
        assert!(elsewhere.check_topic(LinkKind::Mqtt, &of_rule).is_err());
    }

    #[test]
    fn no_default_is_above_its_preset() {
        for kind in [LinkKind::EventGrid, LinkKind::AwsIot, LinkKind::Mqtt] {
            let (preset, default) = (LinkLimits::of(kind), LinkLimits::default_of(kind));
            assert!(default.keepalive_seconds <= preset.keepalive_seconds, "{kind:?}");
            assert!(default.unacked <= preset.unacked, "{kind:?}");
            assert!(default.session_expiry_seconds <= preset.session_expiry_seconds, "{kind:?}");
        }
    }
}
