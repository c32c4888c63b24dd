//! The view of an entry of the audit log. No entry contains a token, its hash, or a payload.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::view;
use crate::store::reads::audit::AuditRow;

view! {
    /// A change, as the audit log keeps it.
    AuditEntryView as "AuditEntry" of AuditRow {
        /// The identifier of the entry.
        id: i64,
        /// When the change was made.
        at: DateTime<Utc>,
        /// Who made it, such as `console:alice`, `api`, `cli:bob` or `device:acme/pump-1`.
        actor: String,
        /// What was done, such as `device.add`.
        action: String,
        /// The tenant that was changed; null: none.
        tenant_id: Option<String>,
        /// The device that was changed; null: none.
        device_id: Option<String>,
        /// More about the change, an object.
        detail: Value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn an_entry_has_this_json() {
        let row = AuditRow {
            id: 7,
            at: day(1),
            actor: "console:alice".into(),
            action: "device.status".into(),
            tenant_id: Some("acme".into()),
            device_id: None,
            detail: json!({ "from": "ACTIVE" }),
        };
        let expected = concat!(
            r#"{"id":7,"at":"2026-11-01T00:00:00Z","actor":"console:alice","action":"device.status","#,
            r#""tenant_id":"acme","device_id":null,"detail":{"from":"ACTIVE"}}"#
        );
        assert_eq!(json_of::<_, AuditEntryView>(row), expected);
    }
}
