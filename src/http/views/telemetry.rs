//! Views of telemetry rows and buckets. Numbers of metrics stay as the device wrote them.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::view;
use crate::store::reads::telemetry::{MetricBucket, TelemetryRow};

view! {
    /// A telemetry row.
    TelemetryView as "TelemetryRow" of TelemetryRow {
        /// The time of the device, or else the time of receipt.
        time: DateTime<Utc>,
        /// The time of receipt.
        received_at: DateTime<Utc>,
        /// The tenant of the device.
        tenant_id: String,
        /// The device.
        device_id: String,
        /// The site of the device.
        site_id: Option<String>,
        /// The message type: the path of the topic after the device.
        msg_type: String,
        /// The sequence number of the device.
        seq: Option<i64>,
        /// The metrics; numbers are exact.
        #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
        metrics: Box<RawValue>,
        /// The unknown fields of the payload, if Sluice stores them.
        #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
        extra: Option<Box<RawValue>>,
        /// The identifier of the message.
        message_id: Uuid,
        /// The link that the message came from; null: the local broker.
        link: Option<String>,
        /// The certificate that the publisher is proven to have logged in with; null: not proven, or without a certificate.
        certificate_id: Option<Uuid>,
    }
}

view! {
    /// A metric within one interval.
    BucketView as "MetricBucket" of MetricBucket {
        /// The start of the interval.
        start: DateTime<Utc>,
        /// The number of values.
        count: i64,
        /// The average of the values.
        avg: f64,
        /// The minimum of the values.
        min: f64,
        /// The maximum of the values.
        max: f64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_telemetry_row_has_this_json() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let row = TelemetryRow {
            time: day(1),
            received_at: day(2),
            tenant_id: "acme".into(),
            device_id: "pump-1".into(),
            site_id: Some("north".into()),
            msg_type: "telemetry".into(),
            seq: Some(7),
            metrics: raw(r#"{"t": 12345678901234567890.123}"#),
            extra: None,
            message_id: Uuid::from_u128(1),
            link: None,
            certificate_id: None,
        };
        let expected = concat!(
            r#"{"time":"2026-11-01T00:00:00Z","received_at":"2026-11-02T00:00:00Z","tenant_id":"acme","#,
            r#""device_id":"pump-1","site_id":"north","msg_type":"telemetry","seq":7,"#,
            r#""metrics":{"t": 12345678901234567890.123},"extra":null,"#,
            r#""message_id":"00000000-0000-0000-0000-000000000001","link":null,"certificate_id":null}"#
        );
        assert_eq!(json_of::<_, TelemetryView>(row), expected);
    }

    #[test]
    fn a_bucket_has_this_json() {
        let bucket = MetricBucket { start: day(1), count: 2, avg: 1.5, min: 1.0, max: 2.0 };
        let expected =
            r#"{"start":"2026-11-01T00:00:00Z","count":2,"avg":1.5,"min":1.0,"max":2.0}"#;
        assert_eq!(json_of::<_, BucketView>(bucket), expected);
    }
}
