//! Views of tenants. They change nothing.

use chrono::{DateTime, Utc};

use super::view;
use crate::http::api::params::Param;
use crate::store::registry::tenants::{Tenant, TenantDetail, TenantStatus};

view! {
    /// A tenant.
    TenantView as "Tenant" of Tenant {
        /// The identifier, which topics contain.
        tenant_id: String,
        /// The display name.
        name: String,
        /// The status of the tenant.
        #[schemars(with = "Param<TenantStatus>")]
        status: TenantStatus,
        /// When the tenant was added.
        created_at: DateTime<Utc>,
    }
}

view! {
    /// A tenant and the number of its devices.
    TenantDetailView as "TenantDetail" of TenantDetail {
        /// The tenant.
        #[serde(flatten)]
        tenant: TenantView,
        /// The number of devices.
        devices: i64,
        /// The number of ACTIVE devices.
        devices_active: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_tenant_has_this_json() {
        let tenant = Tenant {
            tenant_id: "acme".into(),
            name: "Acme Pumps".into(),
            status: TenantStatus::Suspended,
            created_at: day(1),
        };
        let row = concat!(
            r#"{"tenant_id":"acme","name":"Acme Pumps","status":"SUSPENDED","#,
            r#""created_at":"2026-11-01T00:00:00Z""#
        );
        assert_eq!(json_of::<_, TenantView>(tenant.clone()), format!("{row}}}"));
        let detail = TenantDetail { tenant, devices: 3, devices_active: 2 };
        let expected = format!(r#"{row},"devices":3,"devices_active":2}}"#);
        assert_eq!(json_of::<_, TenantDetailView>(detail), expected);
    }
}
