//! `/tenants`: list, add, show, suspend, remove.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::TenantId;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{FreeText, Limit, Param};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::http::views::tenants::{TenantDetailView, TenantView};
use crate::registry::tenants as registry;
use crate::store::registry::tenants::{self, TenantError, TenantStatus};

/// The path of a tenant.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TenantPath {
    /// The identifier of the tenant.
    pub tenant: Param<TenantId>,
}

/// The page of tenants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantPageParams {
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<TenantId>>,
}

/// A new tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// The identifier, which topics contain.
    tenant_id: Param<TenantId>,
    /// The display name; the default is the identifier.
    name: Option<Param<FreeText>>,
}

/// The change of a tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantChange {
    /// While a tenant is SUSPENDED, Sluice refuses the messages of its devices. With
    /// `ACL_OUTPUT_PATH` the broker's access rules follow within seconds; without it the devices
    /// can still read their commands. A device can still connect until its certificate is revoked.
    status: Param<TenantStatus>,
}

/// The removed tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RemovedTenant {
    /// The identifier of the removed tenant.
    tenant_id: String,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, TenantPageParams, NoBody>,
) -> Result<OkJson<Page<TenantView>>, Problem> {
    let TenantPageParams { limit: Param(Limit(limit)), cursor } = call.query;
    let after = cursor.map(|Param(tenant)| tenant);
    let rows = tenants::list(api.database.pool(), after.as_ref(), Page::<TenantView>::fetch(limit))
        .await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.tenant_id.clone())))
}

pub(crate) async fn add(
    api: Api,
    call: Call<NoParams, NoParams, Json<NewTenant>>,
) -> Result<CreatedJson<TenantDetailView>, Problem> {
    let NewTenant { tenant_id: Param(tenant), name } = call.body.0;
    let name = name.map(|Param(FreeText(name))| name);
    Ok(CreatedJson(registry::add(api.action_context(), &tenant, name.as_deref()).await?.into()))
}

pub(crate) async fn show(
    api: Api,
    call: Call<TenantPath, NoParams, NoBody>,
) -> Result<OkJson<TenantDetailView>, Problem> {
    Ok(OkJson(tenants::show(api.database.pool(), &call.path.tenant.0).await?.into()))
}

pub(crate) async fn change(
    api: Api,
    call: Call<TenantPath, NoParams, Json<TenantChange>>,
) -> Result<OkJson<TenantDetailView>, Problem> {
    let tenant = &call.path.tenant.0;
    registry::set_status(api.action_context(), tenant, call.body.0.status.0).await?;
    Ok(OkJson(tenants::show(api.database.pool(), tenant).await?.into()))
}

pub(crate) async fn remove(
    api: Api,
    call: Call<TenantPath, NoParams, NoBody>,
) -> Result<OkJson<RemovedTenant>, Problem> {
    let Param(tenant) = call.path.tenant;
    registry::remove(api.action_context(), &tenant).await?;
    Ok(OkJson(RemovedTenant { tenant_id: tenant.to_string() }))
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        let what = error.to_string();
        match error {
            TenantError::Outage(outage) => outage.into(),
            TenantError::Unknown(_) => {
                Self::not_found(format!("{what}; GET /api/v1/tenants lists the tenants"))
            }
            TenantError::Unaddressable(_) => Self::refused("tenant_id", what),
            TenantError::Exists(_) => Self::new(ProblemKind::Conflict, what),
            TenantError::HasDevices { .. } => Self::new(
                ProblemKind::Conflict,
                format!("{what}: remove them first, or suspend the tenant"),
            ),
        }
    }
}
