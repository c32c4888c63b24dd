//! The payload of a message, made again from its row of `telemetry`.
//!
//! Its bytes are not those of the device: the order of fields and the notation of numbers are
//! Postgres'. The content is the same, and so is the identity, which the row has. A field that Sluice
//! does not keep (`KEEP_EXTRA_FIELDS`), and the token, are missing.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

/// A row of `telemetry`, as far as links need it.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct TelemetryMessage {
    pub time: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub tenant_id: String,
    pub device_id: String,
    pub site_id: Option<String>,
    pub msg_type: String,
    pub seq: Option<i64>,
    /// A JSON object, as text.
    pub metrics: String,
    /// A JSON object, as text.
    pub extra: Option<String>,
    pub message_id: Uuid,
}

// === impl TelemetryMessage ===

impl TelemetryMessage {
    /// About the bytes that its row of the outbox counts.
    pub fn weight(&self) -> usize {
        200 + self.metrics.len() + self.extra.as_ref().map_or(0, String::len)
    }

    /// The payload. A message without `ts` has the time of its receipt, and gets none here either.
    pub fn payload(&self) -> String {
        let mut fields = Vec::with_capacity(5);
        if self.time != self.received_at {
            fields.push(format!(
                r#""ts":"{}""#,
                self.time.to_rfc3339_opts(SecondsFormat::Micros, true)
            ));
        }
        if let Some(site) = &self.site_id {
            fields.push(format!(r#""site_id":{}"#, serde_json::Value::from(site.as_str())));
        }
        fields.extend(self.seq.map(|seq| format!(r#""seq":{seq}"#)));
        fields.push(format!(r#""metrics":{}"#, self.metrics));
        let extra = self.extra.as_deref().and_then(inside).filter(|inside| !inside.is_empty());
        fields.extend(extra.map(str::to_owned));
        let mut payload = String::with_capacity(self.metrics.len() + 100);
        let _ = write!(payload, "{{{}}}", fields.join(","));
        payload
    }
}

/// What is between the braces of an object.
fn inside(object: &str) -> Option<&str> {
    object.trim().strip_prefix('{')?.strip_suffix('}').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> TelemetryMessage {
        TelemetryMessage {
            time: DateTime::from_timestamp_micros(1_777_896_000_000_001).unwrap(),
            received_at: DateTime::from_timestamp_micros(1_777_896_000_000_009).unwrap(),
            tenant_id: "acme".into(),
            device_id: "d".into(),
            site_id: Some("Z\"1".into()),
            msg_type: "telemetry".into(),
            seq: Some(7),
            metrics: r#"{"t": 1.50}"#.into(),
            extra: Some(r#"{"fw": "1.2"}"#.into()),
            message_id: Uuid::nil(),
        }
    }

    #[test]
    fn the_payload_has_every_field_of_the_row() {
        assert_eq!(
            row().payload(),
            r#"{"ts":"2026-05-04T12:00:00.000001Z","site_id":"Z\"1","seq":7,"metrics":{"t": 1.50},"fw": "1.2"}"#
        );
    }

    #[test]
    fn a_field_that_the_message_did_not_have_is_left_out() {
        let mut row = row();
        (row.site_id, row.seq, row.extra) = (None, None, Some("{}".into()));
        row.time = row.received_at;
        assert_eq!(row.payload(), r#"{"metrics":{"t": 1.50}}"#);
    }
}
