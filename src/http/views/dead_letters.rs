//! The views of messages that links did not accept.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::view;
use crate::domain::hex;
use crate::store::links::refused::DeadLetter;
use crate::store::links::refused_detail::{DeadLetterDetail, TenantDeadLetters};

view! {
    /// A refused message without its payload.
    DeadLetterSummaryView as "DeadLetterSummary" of DeadLetter {
        /// The link.
        link: String,
        /// The identifier of the message within the link.
        id: i64,
        /// When the link refused it.
        refused_at: DateTime<Utc>,
        /// `TOO_LARGE`, `BAD_TOPIC`, `NOT_AUTHORIZED`, `REFUSED`, `CLOSES_CONNECTION` or `EXPIRED`.
        reason: String,
        /// The reason code of the other broker; null if the message was not sent.
        code: Option<i16>,
        /// What exactly was wrong.
        detail: String,
        /// The tenant.
        tenant_id: String,
        /// The device.
        device_id: String,
        /// The message type: the path of the local topic after the device.
        msg_type: String,
        /// The topic at the other broker.
        topic: String,
        /// How it is encoded: `binary`, `structured` or `raw`.
        mode: String,
        /// The time of the telemetry row.
        time: DateTime<Utc>,
        /// When Sluice received the message.
        received_at: DateTime<Utc>,
        /// The identifier of the telemetry row.
        message_id: Uuid,
        /// The number of payload bytes.
        payload_bytes: i32,
    }
}

view! {
    /// A link that did not accept messages of a tenant.
    TenantLinkView as "TenantLink" of TenantDeadLetters {
        /// The link.
        link: String,
        /// The messages of the tenant that it did not accept.
        refused: i64,
        /// When it refused the first of them.
        first_refused_at: DateTime<Utc>,
        /// When it refused the last of them.
        last_refused_at: DateTime<Utc>,
    }
}

/// A refused message with its payload.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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
