//! Views of enrolment codes. They contain no code and no hash.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::view;
use crate::store::registry::enrolment_codes::EnrolmentCodeRow;

view! {
    /// An enrolment code, without the code itself.
    EnrolmentCodeView as "EnrolmentCode" of EnrolmentCodeRow {
        /// The identifier.
        code_id: Uuid,
        /// The tenant whose devices the code enrols.
        tenant_id: String,
        /// The device that the code enrols; null if `device_pattern` names several.
        device_id: Option<String>,
        /// The beginning of the names of the devices that the code enrols, and `*`.
        device_pattern: Option<String>,
        /// The site of a device that the code adds.
        site_id: Option<String>,
        /// Whether the code adds a device that is not registered.
        adds_devices: bool,
        /// How often the code may be used.
        max_uses: i32,
        /// How often the code was used.
        uses: i32,
        /// The cell's authority that signs the certificates; null for the own one.
        authority: Option<String>,
        /// ACTIVE, USED, EXPIRED or REVOKED.
        status: String,
        /// When the code was made.
        created_at: DateTime<Utc>,
        /// When the code expires.
        expires_at: DateTime<Utc>,
        /// When the code was revoked.
        revoked_at: Option<DateTime<Utc>>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn an_enrolment_code_has_this_json() {
        let row = EnrolmentCodeRow {
            code_id: Uuid::from_u128(1),
            tenant_id: "acme".into(),
            device_id: None,
            device_pattern: Some("pump-*".into()),
            site_id: Some("north".into()),
            adds_devices: true,
            max_uses: 10,
            uses: 3,
            authority: Some("north".into()),
            status: "ACTIVE".into(),
            created_at: day(1),
            expires_at: day(2),
            revoked_at: None,
        };
        let expected = concat!(
            r#"{"code_id":"00000000-0000-0000-0000-000000000001","tenant_id":"acme","device_id":null,"#,
            r#""device_pattern":"pump-*","site_id":"north","adds_devices":true,"max_uses":10,"uses":3,"authority":"north","#,
            r#""status":"ACTIVE","created_at":"2026-11-01T00:00:00Z","expires_at":"2026-11-02T00:00:00Z","#,
            r#""revoked_at":null}"#
        );
        assert_eq!(json_of::<_, EnrolmentCodeView>(row), expected);
    }
}
