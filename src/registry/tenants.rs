//! Decisions about tenants: the name of a new one, its status, and its removal.
//!
//! Lists and single tenants are read from [`crate::store::registry::tenants`].

use super::ActionContext;
use crate::domain::ids::TenantId;
use crate::store::registry::tenants::{self, TenantDetail, TenantError, TenantStatus};

/// Adds a tenant and returns it. Without a name for people, its identifier is its name.
pub async fn add(
    context: ActionContext<'_>,
    tenant: &TenantId,
    name: Option<&str>,
) -> Result<TenantDetail, TenantError> {
    let pool = context.database.pool();
    tenants::add(pool, context.actor, tenant, name.unwrap_or(tenant.as_str())).await?;
    tenants::show(pool, tenant).await
}

/// Sets the status of a tenant; returns the previous one.
pub async fn set_status(
    context: ActionContext<'_>,
    tenant: &TenantId,
    status: TenantStatus,
) -> Result<TenantStatus, TenantError> {
    tenants::set_status(context.database.pool(), context.actor, tenant, status).await
}

/// Removes a tenant without devices.
pub async fn remove(context: ActionContext<'_>, tenant: &TenantId) -> Result<(), TenantError> {
    tenants::remove(context.database.pool(), context.actor, tenant).await
}
