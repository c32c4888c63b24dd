//! The view of a shadow: what a device should be and what it says it is.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::view;
use crate::store::downlink::shadows::ShadowRow;

view! {
    /// The desired and the reported document of a device.
    ShadowView as "Shadow" of ShadowRow {
        /// The tenant of the device.
        tenant_id: String,
        /// The device.
        device_id: String,
        /// The desired document; null: none.
        #[schemars(with = "Option<serde_json::Value>")]
        desired: Option<Box<RawValue>>,
        /// The version of the desired document; 0: there has been none.
        desired_version: i64,
        /// When the desired document was last changed.
        desired_at: Option<DateTime<Utc>>,
        /// The document that the device reported last; null: none.
        #[schemars(with = "Option<serde_json::Value>")]
        reported: Option<Box<RawValue>>,
        /// The version that the device gave its report.
        reported_version: Option<i64>,
        /// When Sluice received the report.
        reported_at: Option<DateTime<Utc>>,
        /// The parts of the desired document that the reported one lacks.
        #[schemars(with = "serde_json::Value")]
        delta: Box<RawValue>,
        /// Whether the delta is empty.
        in_sync: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_shadow_has_this_json() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let shadow = ShadowRow {
            tenant_id: "acme".into(),
            device_id: "pump-1".into(),
            desired: Some(raw(r#"{"rate":1.50}"#)),
            desired_version: 18,
            desired_at: Some(day(1)),
            reported: None,
            reported_version: None,
            reported_at: None,
            delta: raw(r#"{"rate":1.50}"#),
            in_sync: false,
        };
        assert_eq!(
            json_of::<_, ShadowView>(shadow),
            concat!(
                r#"{"tenant_id":"acme","device_id":"pump-1","desired":{"rate":1.50},"#,
                r#""desired_version":18,"desired_at":"2026-11-01T00:00:00Z","reported":null,"#,
                r#""reported_version":null,"reported_at":null,"delta":{"rate":1.50},"#,
                r#""in_sync":false}"#
            )
        );
    }
}
