//! `/devices`: list, add, show, change the status, remove, and their tokens.
//!
//! A token is only in the response to the request that generated it; only its hash is stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tenants;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::domain::token::SecretToken;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{FreeText, Limit, Metadata, Param, TextParam};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::http::views::devices::{DeviceDetailView, DeviceView};
use crate::registry::devices::{self as registry, DeviceChangeError, DeviceOrder, TokenChoice};
use crate::store::registry::devices::{self, DeviceError, DeviceFilter};

/// The path of a device.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DevicePath {
    /// The identifier of the tenant.
    tenant: Param<TenantId>,
    /// The identifier of the device within its tenant.
    device: Param<DeviceId>,
}

/// The page and the filters of devices of all tenants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevicePageParams {
    /// Only devices of this tenant.
    tenant: Option<Param<TenantId>>,
    /// Only devices with this status.
    status: Option<Param<DeviceStatus>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<DeviceKey>>,
}

/// The page and the filters of devices of one tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantDevicePageParams {
    /// Only devices with this status.
    status: Option<Param<DeviceStatus>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<DeviceKey>>,
}

/// A new device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceToAdd {
    /// The device's identifier within its tenant.
    device_id: Param<DeviceId>,
    /// The site of the device.
    site_id: Option<Param<FreeText>>,
    /// The default is ACTIVE.
    status: Option<Param<DeviceStatus>>,
    /// Free-form data that Sluice stores with the device.
    #[serde(default)]
    metadata: Metadata,
    /// Whether to generate a token for the device; the default is true.
    token: Option<bool>,
}

/// The change of a device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceChange {
    /// Sluice refuses the messages of a device that is not ACTIVE. With `ACL_OUTPUT_PATH` the
    /// broker's access rules follow within seconds; without it the device can still read its
    /// commands. The device can still connect until its certificate is revoked.
    status: Param<DeviceStatus>,
}

/// The added device.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AddedDevice {
    /// The device.
    device: DeviceDetailView,
    /// The generated token, which only this response contains; null without one.
    token: Option<String>,
}

/// The token of a device after the change.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeviceToken {
    /// The tenant of the device.
    tenant_id: String,
    /// The identifier of the device within its tenant.
    device_id: String,
    /// The new token, which only this response contains; null after a removal.
    token: Option<String>,
}

/// The removed device.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RemovedDevice {
    /// The tenant of the device.
    tenant_id: String,
    /// The identifier of the device within its tenant.
    device_id: String,
    /// The number of certificates that were revoked with it.
    certificates_revoked: u64,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, DevicePageParams, NoBody>,
) -> Result<OkJson<Page<DeviceView>>, Problem> {
    let DevicePageParams { tenant, status, limit, cursor } = call.query;
    page(&api, filter(tenant.map(|Param(tenant)| tenant), status, cursor), limit).await
}

pub(crate) async fn list_of(
    api: Api,
    call: Call<tenants::TenantPath, TenantDevicePageParams, NoBody>,
) -> Result<OkJson<Page<DeviceView>>, Problem> {
    let TenantDevicePageParams { status, limit, cursor } = call.query;
    page(&api, filter(Some(call.path.tenant.0), status, cursor), limit).await
}

pub(crate) async fn add(
    api: Api,
    call: Call<tenants::TenantPath, NoParams, Json<DeviceToAdd>>,
) -> Result<CreatedJson<AddedDevice>, Problem> {
    let Json(new) = call.body;
    let order = DeviceOrder {
        key: DeviceKey::of(&call.path.tenant.0, &new.device_id.0),
        site: new.site_id.map(|Param(FreeText(site))| site),
        status: new.status.map_or(DeviceStatus::Active, |Param(status)| status),
        metadata: new.metadata.0,
        token: if new.token.unwrap_or(true) { TokenChoice::Make } else { TokenChoice::None },
    };
    let key = order.key.clone();
    let token = registry::add(api.action_context(), &api.config, order).await?;
    let device = devices::show(api.database.pool(), &key).await?;
    let token = token.map(SecretToken::into_text);
    Ok(CreatedJson(AddedDevice { device: device.into(), token }))
}

pub(crate) async fn show(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<OkJson<DeviceDetailView>, Problem> {
    Ok(OkJson(devices::show(api.database.pool(), &call.path.key()).await?.into()))
}

pub(crate) async fn change(
    api: Api,
    call: Call<DevicePath, NoParams, Json<DeviceChange>>,
) -> Result<OkJson<DeviceDetailView>, Problem> {
    let (pool, key) = (api.database.pool(), call.path.key());
    registry::set_status(api.action_context(), &key, call.body.0.status.0).await?;
    Ok(OkJson(devices::show(pool, &key).await?.into()))
}

pub(crate) async fn remove(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<OkJson<RemovedDevice>, Problem> {
    let key = call.path.key();
    let certificates_revoked = registry::remove(api.action_context(), &key).await?;
    let (tenant_id, device_id) = (key.tenant().to_string(), key.device().to_string());
    Ok(OkJson(RemovedDevice { tenant_id, device_id, certificates_revoked }))
}

pub(crate) async fn make_token(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<CreatedJson<DeviceToken>, Problem> {
    Ok(CreatedJson(set_token(&api, &call.path.key(), TokenChoice::Make).await?))
}

pub(crate) async fn take_token(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<OkJson<DeviceToken>, Problem> {
    Ok(OkJson(set_token(&api, &call.path.key(), TokenChoice::None).await?))
}

// === impl DevicePath ===

impl DevicePath {
    pub(super) fn key(self) -> DeviceKey {
        DeviceKey::of(&self.tenant.0, &self.device.0)
    }
}

// === impl DeviceKey ===

/// As a cursor, it is `<tenant>/<device>`.
impl TextParam for DeviceKey {
    fn read(text: &str) -> Result<Self, String> {
        let key = text.split_once('/').and_then(|(tenant, device)| Self::new(tenant, device).ok());
        key.ok_or_else(|| "expected the `next` of an earlier page".to_owned())
    }

    fn schema() -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

impl From<DeviceChangeError> for Problem {
    fn from(error: DeviceChangeError) -> Self {
        match error {
            DeviceChangeError::Store(error) => error.into(),
            DeviceChangeError::Name(error) => Self::field("device_id", error.to_string()),
            DeviceChangeError::Token(error) => Self::new(ProblemKind::Internal, error.to_string()),
        }
    }
}

impl From<DeviceError> for Problem {
    fn from(error: DeviceError) -> Self {
        let what = error.to_string();
        match error {
            DeviceError::Outage(outage) => outage.into(),
            DeviceError::Exists(_) => Self::new(ProblemKind::Conflict, what),
            DeviceError::NoTenant(_) => {
                Self::not_found(format!("{what}: add it with POST /api/v1/tenants"))
            }
            DeviceError::Unknown(key) => Self::not_found(format!(
                "{what}; GET /api/v1/tenants/{}/devices lists the tenant's devices",
                key.tenant()
            )),
        }
    }
}

// === private helpers ===

fn filter(
    tenant: Option<TenantId>,
    status: Option<Param<DeviceStatus>>,
    cursor: Option<Param<DeviceKey>>,
) -> DeviceFilter {
    let status = status.map(|Param(status)| status);
    let after = cursor.map(|Param(key)| key);
    DeviceFilter { tenant, status, after }
}

async fn page(
    api: &Api,
    filter: DeviceFilter,
    Param(Limit(limit)): Param<Limit>,
) -> Result<OkJson<Page<DeviceView>>, Problem> {
    let rows =
        devices::list(api.database.pool(), &filter, Page::<DeviceView>::fetch(limit)).await?;
    Ok(OkJson(Page::new(rows, limit, |last| format!("{}/{}", last.tenant_id, last.device_id))))
}

async fn set_token(api: &Api, key: &DeviceKey, token: TokenChoice) -> Result<DeviceToken, Problem> {
    let token = registry::set_token(api.action_context(), key, token).await?;
    Ok(DeviceToken {
        tenant_id: key.tenant().to_string(),
        device_id: key.device().to_string(),
        token: token.map(SecretToken::into_text),
    })
}
