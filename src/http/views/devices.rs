//! Views of devices. They contain neither a token nor its hash.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::view;
use crate::domain::device::DeviceStatus;
use crate::http::api::params::Param;
use crate::store::certificates::CertificateStatus;
use crate::store::registry::device_list::DeviceListRow;
use crate::store::registry::devices::{DeviceDetail, DeviceRow};
use crate::store::registry::tenants::TenantStatus;

view! {
    /// A device.
    DeviceView as "Device" of DeviceRow {
        /// The tenant of the device.
        tenant_id: String,
        /// The identifier of the device within its tenant.
        device_id: String,
        /// The site of the device.
        site_id: Option<String>,
        /// The status of the device.
        #[schemars(with = "Param<DeviceStatus>")]
        status: DeviceStatus,
        /// Whether the device has a token.
        has_token: bool,
        /// When the device was added.
        created_at: DateTime<Utc>,
        /// When the device was last changed.
        updated_at: DateTime<Utc>,
    }
}

view! {
    /// A device with its tenant's status, its metadata, its certificates and its last messages.
    DeviceDetailView as "DeviceDetail" of DeviceDetail {
        /// The device.
        #[serde(flatten)]
        device: DeviceView,
        /// The status of the device's tenant.
        #[schemars(with = "Param<TenantStatus>")]
        tenant_status: TenantStatus,
        /// Free-form data that Sluice stores with the device.
        metadata: Value,
        /// The number of all certificates of the device, past ones too.
        certificates: i64,
        /// The number of ACTIVE certificates.
        certificates_active: i64,
        /// When Sluice last accepted a message of the device.
        last_seen_at: Option<DateTime<Utc>>,
        /// When Sluice last accepted a telemetry row of the device.
        last_telemetry_at: Option<DateTime<Utc>>,
    }
}

view! {
    /// A device in a list, with what a person wants to know of it.
    DeviceListView as "DeviceListItem" of DeviceListRow {
        /// The device.
        #[serde(flatten)]
        device: DeviceView,
        /// When Sluice last accepted a message of the device; null: never.
        last_seen_at: Option<DateTime<Utc>>,
        /// The certificate of the device: an ACTIVE one, or else a REVOKED one; of several the one
        /// that expires last.
        certificate_id: Option<Uuid>,
        /// The status of that certificate.
        #[schemars(with = "Option<Param<CertificateStatus>>")]
        certificate_status: Option<CertificateStatus>,
        /// When that certificate expires.
        certificate_not_after: Option<DateTime<Utc>>,
        /// Whether an ACTIVE certificate replaces that one.
        certificate_replaced: Option<bool>,
        /// The messages of the device that the quarantine kept in the last 24 hours, at most 100.
        /// Of a flood it keeps samples.
        refused_24h: i64,
        /// The version of the desired document; 0: there has been none.
        desired_version: i64,
        /// The version that the device gave its last report.
        reported_version: Option<i64>,
        /// Whether the device reports everything that is desired.
        in_sync: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_device_has_this_json() {
        let device = DeviceRow {
            tenant_id: "acme".into(),
            device_id: "pump-1".into(),
            site_id: None,
            status: DeviceStatus::Inactive,
            has_token: true,
            created_at: day(1),
            updated_at: day(2),
        };
        let row = concat!(
            r#"{"tenant_id":"acme","device_id":"pump-1","site_id":null,"status":"INACTIVE","#,
            r#""has_token":true,"created_at":"2026-11-01T00:00:00Z","#,
            r#""updated_at":"2026-11-02T00:00:00Z""#
        );
        assert_eq!(json_of::<_, DeviceView>(device.clone()), format!("{row}}}"));
        let listed = DeviceListRow {
            device: device.clone(),
            last_seen_at: Some(day(3)),
            certificate_id: Some(Uuid::from_u128(1)),
            certificate_status: Some(CertificateStatus::Active),
            certificate_not_after: Some(day(30)),
            certificate_replaced: Some(false),
            refused_24h: 14,
            desired_version: 8,
            reported_version: Some(7),
            in_sync: false,
        };
        let more = concat!(
            r#","last_seen_at":"2026-11-03T00:00:00Z","#,
            r#""certificate_id":"00000000-0000-0000-0000-000000000001","certificate_status":"ACTIVE","#,
            r#""certificate_not_after":"2026-11-30T00:00:00Z","certificate_replaced":false,"#,
            r#""refused_24h":14,"desired_version":8,"reported_version":7,"in_sync":false}"#
        );
        assert_eq!(json_of::<_, DeviceListView>(listed), format!("{row}{more}"));
        let detail = DeviceDetail {
            device,
            tenant_status: TenantStatus::Active,
            metadata: serde_json::json!({ "model": "x" }),
            certificates: 2,
            certificates_active: 1,
            last_seen_at: Some(day(3)),
            last_telemetry_at: None,
        };
        let rest = concat!(
            r#","tenant_status":"ACTIVE","metadata":{"model":"x"},"certificates":2,"#,
            r#""certificates_active":1,"last_seen_at":"2026-11-03T00:00:00Z","#,
            r#""last_telemetry_at":null}"#
        );
        assert_eq!(json_of::<_, DeviceDetailView>(detail), format!("{row}{rest}"));
    }
}
