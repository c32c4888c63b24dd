//! `/devices`: list, add, show, silence, remove, and their tokens.
//!
//! A token is only in the response to the request that generated it; only its hash is stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tenants;
use crate::config::Config;
use crate::config::sections::certificates::CnFormat;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::{DeviceId, DeviceKey, MAX_COMMON_NAME_LEN, TenantId};
use crate::domain::token::{SecretToken, TokenHash};
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{FreeText, Limit, Metadata, Param, TextParam};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::store::registry::devices::{
    self, DeviceDetail, DeviceError, DeviceFilter, DeviceRow, NewDevice,
};

/// Which device.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DevicePath {
    tenant: Param<TenantId>,
    device: Param<DeviceId>,
}

/// Which page of which devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevicePageParams {
    status: Option<Param<DeviceStatus>>,
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the page before.
    cursor: Option<Param<DeviceKey>>,
}

/// A device to be added.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceToAdd {
    /// Its name within the tenant.
    device_id: Param<DeviceId>,
    /// Where it stands.
    site_id: Option<Param<FreeText>>,
    /// ACTIVE when not given.
    status: Option<Param<DeviceStatus>>,
    /// Whatever its owner wants to remember.
    #[serde(default)]
    metadata: Metadata,
    /// Whether to make a token for it; true when not given.
    token: Option<bool>,
}

/// What is to be changed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceChange {
    /// Unless it is ACTIVE its messages are refused. With `ACL_OUTPUT_PATH` the broker's access
    /// rules follow within seconds; without, it still reads its commands. In both cases it can
    /// still connect: revoking its certificate ends that.
    status: Param<DeviceStatus>,
}

/// A device that was added.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AddedDevice {
    device: DeviceDetail,
    /// Its token, this once; null when none was to be made.
    token: Option<String>,
}

/// What is said of a token.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeviceToken {
    tenant_id: String,
    device_id: String,
    /// The token, this once; null when it was taken away.
    token: Option<String>,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RemovedDevice {
    tenant_id: String,
    device_id: String,
    /// How many certificates were revoked with it.
    certificates_revoked: u64,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, DevicePageParams, NoBody>,
) -> Result<OkJson<Page<DeviceRow>>, Problem> {
    page(&api, None, call.query).await
}

pub(crate) async fn list_of(
    api: Api,
    call: Call<tenants::TenantPath, DevicePageParams, NoBody>,
) -> Result<OkJson<Page<DeviceRow>>, Problem> {
    page(&api, Some(call.path.tenant.0), call.query).await
}

pub(crate) async fn add(
    api: Api,
    call: Call<tenants::TenantPath, NoParams, Json<DeviceToAdd>>,
) -> Result<CreatedJson<AddedDevice>, Problem> {
    let Json(asked) = call.body;
    let key = DeviceKey::of(&call.path.tenant.0, &asked.device_id.0);
    check_common_name(&key, &api.config)?;
    let token = asked.token.unwrap_or(true).then(make).transpose()?;
    let device = NewDevice {
        key,
        site: asked.site_id.map(|Param(FreeText(site))| site),
        status: asked.status.map_or(DeviceStatus::Active, |Param(status)| status),
        token: token.as_deref().map(TokenHash::of),
        metadata: asked.metadata.0,
    };
    devices::add(api.database.pool(), &api.actor, &device).await?;
    let device = devices::show(api.database.pool(), &device.key).await?;
    Ok(CreatedJson(AddedDevice { device, token }))
}

pub(crate) async fn show(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<OkJson<DeviceDetail>, Problem> {
    Ok(OkJson(devices::show(api.database.pool(), &call.path.key()).await?))
}

pub(crate) async fn change(
    api: Api,
    call: Call<DevicePath, NoParams, Json<DeviceChange>>,
) -> Result<OkJson<DeviceDetail>, Problem> {
    let (pool, key) = (api.database.pool(), call.path.key());
    devices::set_status(pool, &api.actor, &key, call.body.0.status.0).await?;
    Ok(OkJson(devices::show(pool, &key).await?))
}

pub(crate) async fn remove(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<OkJson<RemovedDevice>, Problem> {
    let key = call.path.key();
    let certificates_revoked = devices::remove(api.database.pool(), &api.actor, &key).await?;
    let (tenant_id, device_id) = (key.tenant().to_string(), key.device().to_string());
    Ok(OkJson(RemovedDevice { tenant_id, device_id, certificates_revoked }))
}

pub(crate) async fn make_token(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<CreatedJson<DeviceToken>, Problem> {
    Ok(CreatedJson(set_token(&api, &call.path.key(), Some(make()?)).await?))
}

pub(crate) async fn take_token(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<OkJson<DeviceToken>, Problem> {
    Ok(OkJson(set_token(&api, &call.path.key(), None).await?))
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
        key.ok_or_else(|| "expected the `next` of a page".to_owned())
    }

    fn schema() -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
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
                "{what}; GET /api/v1/tenants/{}/devices lists those there are",
                key.tenant()
            )),
        }
    }
}

// === private helpers ===

async fn page(
    api: &Api,
    tenant: Option<TenantId>,
    asked: DevicePageParams,
) -> Result<OkJson<Page<DeviceRow>>, Problem> {
    let Param(Limit(limit)) = asked.limit;
    let (status, after) =
        (asked.status.map(|Param(status)| status), asked.cursor.map(|Param(key)| key));
    let filter = DeviceFilter { tenant, status, after };
    let rows = devices::list(api.database.pool(), &filter, Page::<DeviceRow>::fetch(limit)).await?;
    Ok(OkJson(Page::new(rows, limit, |last| format!("{}/{}", last.tenant_id, last.device_id))))
}

async fn set_token(
    api: &Api,
    key: &DeviceKey,
    token: Option<String>,
) -> Result<DeviceToken, Problem> {
    let hash = token.as_deref().map(TokenHash::of);
    devices::set_token(api.database.pool(), &api.actor, key, hash.as_ref()).await?;
    Ok(DeviceToken {
        tenant_id: key.tenant().to_string(),
        device_id: key.device().to_string(),
        token,
    })
}

fn make() -> Result<String, Problem> {
    let token = SecretToken::generate();
    let token = token.map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    Ok(token.into_text())
}

/// Refuses an identity that no certificate can contain, if certificates are configured.
fn check_common_name(key: &DeviceKey, config: &Config) -> Result<(), Problem> {
    let name = match config.certificates.cn_format {
        CnFormat::Strict => key.identity().to_owned(),
        CnFormat::Plain => key.to_string(),
    };
    if !config.ingest.cert_auth_enabled || name.len() <= MAX_COMMON_NAME_LEN {
        return Ok(());
    }
    let over = name.len() - MAX_COMMON_NAME_LEN;
    let detail = format!(
        "its certificate's common name {name} would be {over} characters longer than X.509 allows: shorten it"
    );
    Err(Problem::field("device_id", detail))
}
