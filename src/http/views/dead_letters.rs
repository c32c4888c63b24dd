//! The views of a message that a link did not accept.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::hex;
use crate::store::links::refused::DeadLetter;
use crate::store::links::refused_detail::DeadLetterDetail;

/// A refused message without its payload.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "DeadLetterSummary")]
pub struct DeadLetterSummaryView {
    /// The link.
    pub link: String,
    /// The identifier of the message within the link.
    pub id: i64,
    /// When the link refused it.
    pub refused_at: DateTime<Utc>,
    /// `TOO_LARGE`, `BAD_TOPIC`, `NOT_AUTHORIZED`, `REFUSED`, `CLOSES_CONNECTION` or `EXPIRED`.
    pub reason: String,
    /// The reason code of the other broker; null if the message was not sent.
    pub code: Option<i16>,
    /// What exactly was wrong.
    pub detail: String,
    /// The tenant.
    pub tenant_id: String,
    /// The device.
    pub device_id: String,
    /// The message type: the path of the local topic after the device.
    pub msg_type: String,
    /// The topic at the other broker.
    pub topic: String,
    /// How it is encoded: `binary`, `structured` or `raw`.
    pub mode: String,
    /// The time of the telemetry row.
    pub time: DateTime<Utc>,
    /// When Sluice received the message.
    pub received_at: DateTime<Utc>,
    /// The identifier of the telemetry row.
    pub message_id: Uuid,
    /// The number of payload bytes.
    pub payload_bytes: i32,
}

/// A refused message with its payload.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "DeadLetter")]
pub struct DeadLetterView {
    /// The message without its payload.
    #[serde(flatten)]
    pub summary: DeadLetterSummaryView,
    /// The payload, if it is UTF-8.
    pub payload: Option<String>,
    /// The payload in hex, if it is not UTF-8.
    pub payload_hex: Option<String>,
}

impl From<DeadLetter> for DeadLetterSummaryView {
    fn from(row: DeadLetter) -> Self {
        Self {
            link: row.link,
            id: row.id,
            refused_at: row.refused_at,
            reason: row.reason,
            code: row.code,
            detail: row.detail,
            tenant_id: row.tenant_id,
            device_id: row.device_id,
            msg_type: row.msg_type,
            topic: row.topic,
            mode: row.mode,
            time: row.time,
            received_at: row.received_at,
            message_id: row.message_id,
            payload_bytes: row.payload_bytes,
        }
    }
}

impl From<DeadLetterDetail> for DeadLetterView {
    fn from(row: DeadLetterDetail) -> Self {
        let payload = String::from_utf8(row.payload);
        let (payload, payload_hex) = match payload {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(hex::encode(error.as_bytes()))),
        };
        Self { summary: row.summary.into(), payload, payload_hex }
    }
}
