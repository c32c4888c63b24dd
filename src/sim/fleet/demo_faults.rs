//! The faults of demo devices: quarantine has a reason for each, except the last, which the broker
//! refuses itself.
//!
//! A fault changes messages only: the broker accepts the connection of a faulty device.

use serde_json::{Map, Value, json};

use super::demo_message::{DemoMessage, Rights, TENANT, encode};

/// A fault of a device.
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
    /// Sends a `ts` in the distant past.
    StoppedClock,
    /// Sends a payload that is no JSON.
    NotJson,
    /// Sends a NUL character, which jsonb cannot hold.
    NulCharacter,
    /// Sends more bytes than `MAX_PAYLOAD_BYTES` allows.
    TooLarge(usize),
    /// Publishes to a topic that is not in the grammar.
    BadTopic,
    /// Sends every message twice; holds the one to repeat.
    Repeats(Option<DemoMessage>),
    /// Sends nothing, then this many messages at once.
    Bursts(usize),
    /// Publishes on the topics of this device.
    Impostor(&'static str),
}

// === impl DeviceFault ===

impl DeviceFault {
    /// One of each; `burst` of `None` leaves out the bursting one.
    pub fn all(oversize: usize, burst: Option<usize>) -> Vec<Self> {
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
            Self::TooLarge(oversize),
            Self::BadTopic,
            Self::Repeats(None),
            Self::Impostor("climate-0"),
        ];
        all.extend(burst.map(Self::Bursts));
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
            Self::NotJson => "sends-csv",
            Self::NulCharacter => "sends-nul",
            Self::TooLarge(_) => "too-large",
            Self::BadTopic => "bad-topic",
            Self::Repeats(_) => "sends-twice",
            Self::Bursts(_) => "bursts",
            Self::Impostor(_) => "impostor",
        }
    }

    /// Whether the registry does not know its certificate, which the authority signed. The broker
    /// accepts the device; Sluice authenticates it by its token.
    pub fn is_stray(&self) -> bool {
        matches!(self, Self::WrongToken | Self::NoToken | Self::Unregistered | Self::Revoked)
    }

    /// What the broker's access rules should allow. Rows exist for ACTIVE devices only; patterns
    /// apply to every certificate.
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

    /// Applies the fault to a good message.
    pub fn apply(&mut self, mut topic: String, mut fields: Map<String, Value>) -> DemoMessage {
        let mut set = |name: &str, value: Value| fields.insert(name.into(), value);
        match self {
            Self::WrongToken => drop(set("provision_token", json!("not-the-one"))),
            Self::OtherTenant => drop(set("tenant_id", json!("another"))),
            Self::OtherSite => drop(set("site_id", json!("elsewhere"))),
            Self::UnreadableTime => drop(set("ts", json!("yesterday, around noon"))),
            Self::StoppedClock => drop(set("ts", json!("2001-01-01T00:00:00Z"))),
            Self::NulCharacter => drop(set("metrics", json!({ "label": "a\0b" }))),
            Self::TooLarge(bytes) => drop(set("metrics", json!({ "noise": "x".repeat(*bytes) }))),
            Self::NotJson => return DemoMessage { topic, payload: "21.5;45;ok\r\n".into() },
            Self::BadTopic => topic.push_str("//what?"),
            Self::Impostor(other) => topic = format!("tenant/{TENANT}/device/{other}/telemetry"),
            Self::Repeats(repeat) => {
                let message = encode(topic, fields);
                *repeat = Some(message.clone());
                return message;
            }
            Self::NoToken | Self::Unregistered | Self::Revoked | Self::Bursts(_) => {}
        }
        encode(topic, fields)
    }
}
