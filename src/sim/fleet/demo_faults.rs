//! How devices of the demo misbehave: each fault is one that quarantine has a reason for, but for the last, which the broker
//! refuses by itself.
//!
//! A device with a fault is let in at the broker like any other: what it says is wrong, not who it is.

use serde_json::{Map, Value, json};

use super::demo_fleet::{DemoFleetSpec, DemoMessage, Rights, TENANT, message};

/// A way to misbehave.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceFault {
    /// Sends a token that is not its own.
    WrongToken,
    /// Sends no token.
    NoToken,
    /// Is not in the registry.
    Unregistered,
    /// Is REVOKED in the registry.
    Revoked,
    /// Names another tenant in the payload than in the topic.
    OtherTenant,
    /// Names another site than the registry.
    OtherSite,
    /// Sends a `ts` that is no timestamp.
    UnreadableTime,
    /// Sends a `ts` of long ago.
    StoppedClock,
    /// Sends a payload that is no JSON.
    NotJson,
    /// Sends a NUL character, which jsonb cannot hold.
    NulCharacter,
    /// Sends more bytes than `MAX_PAYLOAD_BYTES` allows.
    TooLarge(usize),
    /// Publishes to a topic that is not in the grammar.
    BadTopic,
    /// Says everything twice; the message it still has to repeat.
    Repeats(Option<DemoMessage>),
    /// Silent, and then far too much at once.
    Hasty(usize),
    /// Speaks in the name of this device.
    Impostor(&'static str),
}

// === impl Fault ===

impl DeviceFault {
    /// One of each.
    pub fn all(make_up: DemoFleetSpec) -> Vec<Self> {
        let mut all = vec![
            Self::WrongToken,
            Self::NoToken,
            Self::Unregistered,
            Self::Revoked,
            Self::OtherTenant,
            Self::OtherSite,
            Self::UnreadableTime,
            Self::StoppedClock,
            Self::NotJson,
            Self::NulCharacter,
            Self::TooLarge(make_up.oversize),
            Self::BadTopic,
            Self::Repeats(None),
            Self::Impostor("climate-0"),
        ];
        all.extend(make_up.outburst.map(Self::Hasty));
        all
    }

    /// The name of the device that has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WrongToken => "wrong-token",
            Self::NoToken => "no-token",
            Self::Unregistered => "unregistered",
            Self::Revoked => "revoked",
            Self::OtherTenant => "other-tenant",
            Self::OtherSite => "moved-away",
            Self::UnreadableTime => "odd-clock",
            Self::StoppedClock => "stopped-clock",
            Self::NotJson => "speaks-csv",
            Self::NulCharacter => "sends-nul",
            Self::TooLarge(_) => "talks-too-much",
            Self::BadTopic => "mumbles",
            Self::Repeats(_) => "says-it-twice",
            Self::Hasty(_) => "hasty",
            Self::Impostor(_) => "impostor",
        }
    }

    /// Whether the registry knows no certificate of it: the same authority signed one, and nobody told the registry. The
    /// broker lets such a device in; what proves it to Sluice is its token.
    pub fn is_stray(&self) -> bool {
        matches!(self, Self::WrongToken | Self::NoToken | Self::Unregistered | Self::Revoked)
    }

    /// What the broker's access rules should say to its messages. Rows are written for the ACTIVE devices of the registry
    /// alone, patterns hold for every certificate.
    pub const fn rights(&self) -> Rights {
        match self {
            Self::Impostor(_) => Rights::Foreign,
            Self::Unregistered | Self::Revoked => Rights::Unclear,
            _ => Rights::Own,
        }
    }

    /// Whether the registry knows a token of it.
    pub fn has_token(&self) -> bool {
        matches!(self, Self::WrongToken | Self::NoToken)
    }

    /// Turns a good message into what this device makes of it.
    pub fn spoil(&mut self, mut topic: String, mut fields: Map<String, Value>) -> DemoMessage {
        let mut set = |name: &str, value: Value| fields.insert(name.into(), value);
        match self {
            Self::WrongToken => drop(set("provision_token", json!("not-the-one"))),
            Self::OtherTenant => drop(set("tenant_id", json!("somebody-else"))),
            Self::OtherSite => drop(set("site_id", json!("elsewhere"))),
            Self::UnreadableTime => drop(set("ts", json!("yesterday, around noon"))),
            Self::StoppedClock => drop(set("ts", json!("2001-01-01T00:00:00Z"))),
            Self::NulCharacter => drop(set("metrics", json!({ "label": "a\0b" }))),
            Self::TooLarge(bytes) => drop(set("metrics", json!({ "noise": "x".repeat(*bytes) }))),
            Self::NotJson => return DemoMessage { topic, payload: "21.5;45;ok\r\n".into() },
            Self::BadTopic => topic.push_str("//what?"),
            Self::Impostor(other) => topic = format!("tenant/{TENANT}/device/{other}/telemetry"),
            Self::Repeats(repeat) => {
                let message = message(topic, fields);
                *repeat = Some(message.clone());
                return message;
            }
            Self::NoToken | Self::Unregistered | Self::Revoked | Self::Hasty(_) => {}
        }
        message(topic, fields)
    }
}
