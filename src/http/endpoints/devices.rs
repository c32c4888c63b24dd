//! `/devices`: add, show, change, remove, and their tokens.
//!
//! A token is only in the response to the request that generated it; only its hash is stored.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::tenants;
use crate::clock;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::token::SecretToken;
use crate::downlink::shadow::Precondition;
use crate::http::api::condition::{Conditional, VersionedJson};
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::{FreeText, Metadata, Param};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::http::views::devices::DeviceDetailView;
use crate::http::views::registration::RegistrationPreviewView;
use crate::quarantine::registration::{PreviewJudge, TakeoverError};
use crate::registry::devices::{self as registry, DeviceChangeError, DeviceOrder, TokenChoice};
use crate::store::registry::device_edit::DeviceEdit;
use crate::store::registry::devices::{self, DeviceError};

/// The path of a device.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DevicePath {
    /// The identifier of the tenant.
    tenant: Param<TenantId>,
    /// The identifier of the device within its tenant.
    device: Param<DeviceId>,
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
    /// Instead of a new token: the token that this refused message of the device carried becomes
    /// the device's own. Every kept message of the device must carry the same token or none.
    token_of_event: Option<Param<Uuid>>,
}

/// The change of a device: at least one field.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceChange {
    /// Sluice refuses the messages of a device that is not ACTIVE. With `ACL_OUTPUT_PATH` the
    /// broker's access rules follow within seconds; without it the device can still read its
    /// commands. The device can still connect until its certificate is revoked.
    status: Option<Param<DeviceStatus>>,
    /// The site of the device; null removes it. Sluice refuses a message that names another site.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<Param<FreeText>>")]
    #[expect(clippy::option_option, reason = "absent, null and a value differ")]
    site_id: Option<Option<Param<FreeText>>>,
    /// A JSON merge patch (RFC 7396) of the metadata: null removes a member.
    metadata: Option<Metadata>,
}

/// The added device.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AddedDevice {
    /// The device.
    pub(crate) device: DeviceDetailView,
    /// The generated token, which only this response contains; null without one.
    pub(crate) token: Option<String>,
}

/// The token of a device after the change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DeviceToken {
    /// The tenant of the device.
    pub(crate) tenant_id: String,
    /// The identifier of the device within its tenant.
    pub(crate) device_id: String,
    /// The new token, which only this response contains; null after a removal.
    pub(crate) token: Option<String>,
}

/// The removed device.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RemovedDevice {
    /// The tenant of the device.
    pub(crate) tenant_id: String,
    /// The identifier of the device within its tenant.
    pub(crate) device_id: String,
    /// The number of certificates that were revoked with it.
    pub(crate) certificates_revoked: u64,
}

pub(crate) async fn add(
    api: Api,
    call: Call<tenants::TenantPath, NoParams, Json<DeviceToAdd>>,
) -> Result<CreatedJson<AddedDevice>, Problem> {
    let Json(new) = call.body;
    let key = DeviceKey::of(&call.path.tenant.0, &new.device_id.0);
    let token = token_choice(&api, &key, &new).await?;
    let order = DeviceOrder {
        key: key.clone(),
        site: new.site_id.map(|Param(FreeText(site))| site),
        status: new.status.map_or(DeviceStatus::Active, |Param(status)| status),
        metadata: new.metadata.0,
        token,
    };
    let token = registry::add(api.action_context(), &api.config, order).await?;
    let device = devices::show(api.database.pool(), &key).await?;
    let token = token.map(SecretToken::into_text);
    Ok(CreatedJson(AddedDevice { device: device.into(), token }))
}

/// `GET .../registration`: what [`add`] would do to the refused messages of the device.
pub(crate) async fn preview(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<OkJson<RegistrationPreviewView>, Problem> {
    let judge = PreviewJudge {
        config: &api.config.ingest,
        metrics: api.replay_metrics.clone(),
        clock: clock::now,
    };
    let in_all = api.acting.tenant.is_none();
    let preview = api.quarantine().preview_registration(&call.path.key(), judge, in_all).await?;
    Ok(OkJson(preview.into()))
}

pub(crate) async fn show(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<VersionedJson<DeviceDetailView>, Problem> {
    versioned(&api, &call.path.key()).await
}

pub(crate) async fn change(
    api: Api,
    call: Call<DevicePath, NoParams, Conditional<Json<DeviceChange>>>,
) -> Result<VersionedJson<DeviceDetailView>, Problem> {
    let Conditional { condition, body: Json(change) } = call.body;
    let key = call.path.key();
    registry::edit(api.action_context(), &key, &change.edit()?, expected(condition)?).await?;
    versioned(&api, &key).await
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

// === impl DeviceChange ===

impl DeviceChange {
    fn edit(self) -> Result<DeviceEdit, Problem> {
        let edit = DeviceEdit {
            status: self.status.map(|Param(status)| status),
            site: self.site_id.map(|site| site.map(|Param(FreeText(site))| site)),
            metadata: self.metadata.map(|Metadata(patch)| patch),
        };
        if edit == DeviceEdit::default() {
            let why = "the body changes nothing: send `status`, `site_id` or `metadata`";
            return Err(Problem::new(ProblemKind::BadRequest, why));
        }
        Ok(edit)
    }
}

// === impl Problem ===

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
            DeviceError::Raced(_) => Self::new(
                ProblemKind::OtherVersion,
                format!("{what}: read it again, and change what it has now"),
            ),
            DeviceError::MetadataTooLarge(_) => Self::new(ProblemKind::TooLarge, what),
            DeviceError::MetadataInvalid(..) => Self::field("metadata", what),
            DeviceError::Unaddressable(_) => Self::refused("device_id", what),
            DeviceError::Unknown(key) => Self::not_found(format!(
                "{what}; GET /api/v1/tenants/{}/devices lists the tenant's devices",
                key.tenant()
            )),
        }
    }
}

impl From<TakeoverError> for Problem {
    fn from(error: TakeoverError) -> Self {
        match error {
            TakeoverError::Outage(outage) => outage.into(),
            TakeoverError::Refused(why) => Self::refused(
                "token_of_event",
                format!(
                    "the token is not taken over: {why}; give the device a token of its own, or a certificate"
                ),
            ),
        }
    }
}

// === private helpers ===

async fn token_choice(
    api: &Api,
    key: &DeviceKey,
    new: &DeviceToAdd,
) -> Result<TokenChoice, Problem> {
    let Some(Param(event)) = &new.token_of_event else {
        let is_made = new.token.unwrap_or(true);
        return Ok(if is_made { TokenChoice::Make } else { TokenChoice::None });
    };
    if new.token == Some(true) {
        let why = "expected either a generated token (`token`) or that of a message";
        return Err(Problem::field("token_of_event", why));
    }
    let taken = api.quarantine().take_token(key, *event, api.acting.tenant.is_none()).await?;
    Ok(TokenChoice::TakenOver(taken, *event))
}

/// The value of a field that is there, null too.
#[expect(clippy::option_option, reason = "absent, null and a value differ")]
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The version that a change is for.
fn expected(condition: Precondition) -> Result<Option<i64>, Problem> {
    match condition {
        Precondition::None | Precondition::Exists => Ok(None),
        Precondition::Version(version) => Ok(Some(version)),
        Precondition::Absent => {
            Err(Problem::field("If-None-Match", "a change is for an existing device: omit it"))
        }
    }
}

/// The device, and as its version the time of its last change.
async fn versioned(api: &Api, key: &DeviceKey) -> Result<VersionedJson<DeviceDetailView>, Problem> {
    let device = devices::show(api.database.pool(), key).await?;
    let version = Timestamp::from(device.device.updated_at).micros();
    Ok(VersionedJson { version, value: device.into() })
}

async fn set_token(api: &Api, key: &DeviceKey, token: TokenChoice) -> Result<DeviceToken, Problem> {
    let token = registry::set_token(api.action_context(), key, token).await?;
    Ok(DeviceToken {
        tenant_id: key.tenant().to_string(),
        device_id: key.device().to_string(),
        token: token.map(SecretToken::into_text),
    })
}
