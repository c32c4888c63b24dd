//! `/tenants`: list, add, show, suspend, remove.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::TenantId;
use crate::http::api::Api;
use crate::http::api::extract::{Call, Json, NoBody, Nothing};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Said, Words};
use crate::http::api::problem::{Kind, Problem};
use crate::http::api::route::{Created, Found};
use crate::store::registry::tenants::{self, Tenant, TenantDetail, TenantError, TenantStatus};

/// Which tenant.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Which {
    pub tenant: Said<TenantId>,
}

/// Which page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    #[serde(default)]
    limit: Said<Limit>,
    /// The `next` of the page before.
    cursor: Option<Said<TenantId>>,
}

/// A tenant to be added.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// Its identifier, the one in topics.
    tenant_id: Said<TenantId>,
    /// Its name for people; its identifier when not given.
    name: Option<Said<Words>>,
}

/// What is to be changed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantChange {
    /// While it is SUSPENDED the messages of its devices are refused. With `ACL_OUTPUT_PATH` the broker's access rules follow
    /// within seconds; without, they still read their commands. In both cases they can still connect: revoking their
    /// certificates ends that.
    status: Said<TenantStatus>,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RemovedTenant {
    tenant_id: String,
}

pub(crate) async fn list(api: Api, call: Call<Nothing, Paging, NoBody>) -> Result<Found<Page<Tenant>>, Problem> {
    let Paging { limit: Said(Limit(limit)), cursor } = call.query;
    let after = cursor.map(|Said(tenant)| tenant);
    let rows = tenants::list(api.database.pool(), after.as_ref(), Page::<Tenant>::fetch(limit)).await?;
    Ok(Found(Page::new(rows, limit, |last| last.tenant_id.clone())))
}

pub(crate) async fn add(
    api: Api,
    call: Call<Nothing, Nothing, Json<NewTenant>>,
) -> Result<Created<TenantDetail>, Problem> {
    let NewTenant { tenant_id: Said(tenant), name } = call.body.0;
    let name = name.map_or_else(|| tenant.to_string(), |Said(Words(name))| name);
    tenants::add(api.database.pool(), &api.actor, &tenant, &name).await?;
    Ok(Created(tenants::show(api.database.pool(), &tenant).await?))
}

pub(crate) async fn show(api: Api, call: Call<Which, Nothing, NoBody>) -> Result<Found<TenantDetail>, Problem> {
    Ok(Found(tenants::show(api.database.pool(), &call.path.tenant.0).await?))
}

pub(crate) async fn change(
    api: Api,
    call: Call<Which, Nothing, Json<TenantChange>>,
) -> Result<Found<TenantDetail>, Problem> {
    let (pool, tenant) = (api.database.pool(), &call.path.tenant.0);
    tenants::set_status(pool, &api.actor, tenant, call.body.0.status.0).await?;
    Ok(Found(tenants::show(pool, tenant).await?))
}

pub(crate) async fn remove(api: Api, call: Call<Which, Nothing, NoBody>) -> Result<Found<RemovedTenant>, Problem> {
    let Said(tenant) = call.path.tenant;
    tenants::remove(api.database.pool(), &api.actor, &tenant).await?;
    Ok(Found(RemovedTenant { tenant_id: tenant.to_string() }))
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        let what = error.to_string();
        match error {
            TenantError::Outage(outage) => outage.into(),
            TenantError::Unknown(_) => Self::not_found(format!("{what}; GET /api/v1/tenants lists those there are")),
            TenantError::Exists(_) => Self::new(Kind::Conflict, what),
            TenantError::HasDevices { .. } => {
                Self::new(Kind::Conflict, format!("{what}: remove them first, or suspend the tenant"))
            }
        }
    }
}
