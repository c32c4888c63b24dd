//! The messages of commands and documents: topic, bytes and properties.
//!
//! A row that no message can carry gets a sentence that says why.

use chrono::SecondsFormat;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::device_topics::DeviceTopics;
use crate::domain::exchange::OutgoingMessage;
use crate::domain::ids::{DeviceKey, IdError};
use crate::store::downlink::command_queue::DueCommand;
use crate::store::downlink::pushes::DirtyPush;

/// Most bytes of a message to a device. Mosquitto's default takes more; a device with a few
/// kilobytes of memory takes less, and drops a larger message.
const MAX_MESSAGE: usize = 128 * 1024;

/// Why a row cannot be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoMessage {
    /// A name of its device is outside the grammar, so there is no topic for it.
    #[error("the name of the tenant or of the device cannot be part of a topic: {0}")]
    Name(IdError),
    /// Too many bytes.
    #[error("the message would have {0} bytes; at most {MAX_MESSAGE} are published")]
    TooLarge(usize),
    /// No such document.
    #[error("this version of Sluice does not publish documents of this kind")]
    Kind,
}

/// The message of a command.
pub(super) fn of_command(command: &DueCommand) -> Result<OutgoingMessage, NoMessage> {
    let device = DeviceKey::new(&command.tenant_id, &command.device_id)?;
    let topics = DeviceTopics::of(&device);
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let payload = format!(
        "{{\"command_id\":\"{}\",\"command_type\":{},\"params\":{},\"created_at\":\"{}\",\
         \"expires_at\":\"{}\",\"attempt\":{}}}",
        command.command_id,
        Value::from(command.command_type.as_str()),
        command.params,
        time(command.created_at),
        time(command.valid_until),
        command.attempts.saturating_add(1),
    );
    let left = command.valid_until.signed_duration_since(command.read_at).num_seconds();
    let message = OutgoingMessage::json(topics.commands(), bounded(payload)?);
    Ok(OutgoingMessage {
        response_topic: Some(topics.command_ack()),
        correlation: Some(correlation(command.command_id)),
        ..message.expiring(seconds(left + 1))
    })
}

/// The message of a document, or an empty one that removes it. `retains` is false for a desired
/// document that the broker must not keep.
pub(super) fn of_push(push: &DirtyPush, retains: bool) -> Result<OutgoingMessage, NoMessage> {
    let device = DeviceKey::new(&push.tenant_id, &push.device_id)?;
    let topics = DeviceTopics::of(&device);
    let (topic, is_retained) = match push.kind.as_str() {
        "desired" => (topics.shadow_desired(), retains),
        "certificate" => (topics.notice_certificate(), true),
        _ => return Err(NoMessage::Kind),
    };
    let is_over = push.seconds_left.is_some_and(|left| left <= 0);
    let Some(payload) = push.payload.clone().filter(|_| !is_over) else {
        return Ok(OutgoingMessage::clear(topic));
    };
    let mut message = OutgoingMessage::json(topic, bounded(payload)?);
    message.is_retained = is_retained;
    message.expires_in = push.seconds_left.map(seconds);
    Ok(message)
}

// === impl NoMessage ===

impl From<IdError> for NoMessage {
    fn from(error: IdError) -> Self {
        Self::Name(error)
    }
}

// --- private helpers ---

fn bounded(payload: String) -> Result<String, NoMessage> {
    if payload.len() > MAX_MESSAGE { Err(NoMessage::TooLarge(payload.len())) } else { Ok(payload) }
}

fn correlation(command: Uuid) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(command.as_bytes())
}

/// A Message Expiry Interval of at least one second.
fn seconds(left: i64) -> u32 {
    u32::try_from(left.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use serde_json::json;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn command(device: &str, params: &str) -> DueCommand {
        DueCommand {
            tenant_id: "acme".into(),
            device_id: device.into(),
            command_id: Uuid::from_u128(7),
            command_type: "re\"boot".into(),
            params: params.into(),
            attempts: 1,
            created_at: at(0),
            valid_until: at(60),
            read_at: at(20),
        }
    }

    fn push(kind: &str, payload: Option<&str>, seconds_left: Option<i64>) -> DirtyPush {
        DirtyPush {
            tenant_id: "acme".into(),
            device_id: "pump-1".into(),
            kind: kind.into(),
            revision: 3,
            payload: payload.map(str::to_owned),
            dirty_since: at(0),
            seconds_left,
            read_at: at(0),
        }
    }

    #[test]
    fn a_command_says_how_to_answer_it_and_when_it_ends() {
        let message = of_command(&command("pump-1", r#"{"n": 1.10}"#)).unwrap();
        assert_eq!(message.topic.as_str(), "tenant/acme/device/pump-1/commands");
        assert_eq!(
            message.response_topic.unwrap().as_str(),
            "tenant/acme/device/pump-1/commands/ack"
        );
        assert_eq!(message.correlation.unwrap().as_ref(), Uuid::from_u128(7).as_bytes());
        assert_eq!((message.expires_in, message.is_retained), (Some(41), false));
        let text = std::str::from_utf8(&message.payload).unwrap();
        assert!(text.contains("1.10"), "numbers stay as they were written: {text}");
        let payload: Value = serde_json::from_str(text).unwrap();
        let expected = json!({
            "command_id": Uuid::from_u128(7), "command_type": "re\"boot", "params": {"n": 1.1},
            "created_at": "2027-01-15T08:00:00.000Z", "expires_at": "2027-01-15T08:01:00.000Z",
            "attempt": 2,
        });
        assert_eq!(payload, expected);
    }

    #[test]
    fn a_row_without_a_message_says_why() {
        assert!(matches!(of_command(&command("a/b", "{}")), Err(NoMessage::Name(_))));
        let large = format!("{:?}", "x".repeat(MAX_MESSAGE));
        let why = of_command(&command("pump-1", &large)).unwrap_err();
        assert!(matches!(why, NoMessage::TooLarge(_)));
        assert!(why.to_string().contains("at most 131072 are published"), "{why}");
        assert_eq!(of_push(&push("news", Some("{}"), None), true), Err(NoMessage::Kind));
    }

    #[test]
    fn documents_are_retained_and_withdrawn_and_end() {
        let desired = of_push(&push("desired", Some("{}"), None), true).unwrap();
        assert_eq!(desired.topic.as_str(), "tenant/acme/device/pump-1/shadow/desired");
        assert_eq!((desired.is_retained, desired.expires_in), (true, None));
        assert!(!of_push(&push("desired", Some("{}"), None), false).unwrap().is_retained);
        let notice = of_push(&push("certificate", Some("{}"), Some(90)), false).unwrap();
        assert_eq!(notice.topic.as_str(), "tenant/acme/device/pump-1/notices/certificate");
        assert_eq!((notice.is_retained, notice.expires_in), (true, Some(90)));
        for gone in [push("desired", None, None), push("certificate", Some("{}"), Some(0))] {
            let message = of_push(&gone, false).unwrap();
            assert_eq!(message, OutgoingMessage::clear(message.topic.clone()));
        }
    }
}
