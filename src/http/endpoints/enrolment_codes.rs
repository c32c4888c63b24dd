//! `/enrolment-codes`: make, list, revoke.
//!
//! A code is only in the response to the request that made it; only its hash is stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::tenants::TenantPath;
use crate::domain::enrolment::{CodeExpiry, EnrolmentScope, NamePattern};
use crate::domain::ids::{DeviceId, TenantId};
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{FreeText, Limit, Param, Whole};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::http::views::enrolment::EnrolmentCodeView;
use crate::pki::authority::directory::PairName;
use crate::registry::enrolment::{self as registry, CodeOrder, MAX_CODE_USES, MakeCodeError};
use crate::store::registry::enrolment_codes::{self, EnrolmentCodeError};

/// The path of a code.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EnrolmentCodePath {
    /// The identifier of the tenant.
    tenant: Param<TenantId>,
    /// The identifier of the code; the code itself is in no path.
    code: Param<Uuid>,
}

/// The page of codes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentCodePageParams {
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<Uuid>>,
}

/// A code to make. It enrols one device, or each device whose name begins alike.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentCodeToMake {
    /// The device that the code enrols.
    device_id: Option<Param<DeviceId>>,
    /// The beginning of the names of the devices that the code enrols, and `*`. Such a code replaces
    /// the certificate of no device.
    device_pattern: Option<Param<NamePattern>>,
    /// How often the code may be used; the default is 1.
    max_uses: Option<Whole<1, MAX_CODE_USES>>,
    /// When the code expires: a time, or a span after now, up to 365 days; the default is 24h.
    expires: Option<Param<CodeExpiry>>,
    /// The site of a device that the code adds.
    site_id: Option<Param<FreeText>>,
    /// Whether the code adds a device that is not registered; the default is true.
    adds_devices: Option<bool>,
    /// The authority in `CELL_AUTHORITIES_DIR` that signs the certificates, instead of that of
    /// `DEVICE_CA_CERT_PATH`.
    authority: Option<Param<PairName>>,
}

/// The code that was made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MadeEnrolmentCode {
    /// What is stored of the code.
    #[serde(flatten)]
    pub row: EnrolmentCodeView,
    /// The code, which only this response contains.
    pub code: String,
}

pub(crate) async fn make(
    api: Api,
    call: Call<TenantPath, NoParams, Json<EnrolmentCodeToMake>>,
) -> Result<CreatedJson<MadeEnrolmentCode>, Problem> {
    let Json(wanted) = call.body;
    let order = CodeOrder {
        tenant: call.path.tenant.0,
        scope: scope(wanted.device_id, wanted.device_pattern)?,
        site: wanted.site_id.map(|Param(FreeText(site))| site),
        adds_devices: wanted.adds_devices.unwrap_or(true),
        max_uses: wanted.max_uses.map_or(1, |Whole(uses)| uses),
        expiry: wanted.expires.map_or(CodeExpiry::USUAL, |Param(expiry)| expiry),
        authority: wanted.authority.map(|Param(name)| name),
    };
    let settings = &api.config.certificates;
    let (code, row) = registry::make_code(api.action_context(), settings, order).await?;
    Ok(CreatedJson(MadeEnrolmentCode { row: row.into(), code: code.into_text() }))
}

pub(crate) async fn list(
    api: Api,
    call: Call<TenantPath, EnrolmentCodePageParams, NoBody>,
) -> Result<OkJson<Page<EnrolmentCodeView>>, Problem> {
    let EnrolmentCodePageParams { limit: Param(Limit(limit)), cursor } = call.query;
    let (after, fetched) = (cursor.map(|Param(id)| id), Page::<EnrolmentCodeView>::fetch(limit));
    let pool = api.database.pool();
    let rows = enrolment_codes::list(pool, &call.path.tenant.0, after, fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.code_id.to_string())))
}

pub(crate) async fn revoke(
    api: Api,
    call: Call<EnrolmentCodePath, NoParams, NoBody>,
) -> Result<OkJson<EnrolmentCodeView>, Problem> {
    let EnrolmentCodePath { tenant: Param(tenant), code: Param(code) } = call.path;
    Ok(OkJson(registry::revoke_code(api.action_context(), &tenant, code).await?.into()))
}

// === private helpers ===

fn scope(
    device: Option<Param<DeviceId>>,
    pattern: Option<Param<NamePattern>>,
) -> Result<EnrolmentScope, Problem> {
    match (device, pattern) {
        (Some(Param(device)), None) => Ok(EnrolmentScope::Device(device)),
        (None, Some(Param(pattern))) => Ok(EnrolmentScope::Pattern(pattern)),
        _ => Err(Problem::field("device_id", "send either `device_id` or `device_pattern`")),
    }
}

// === impl Problem ===

impl From<MakeCodeError> for Problem {
    fn from(error: MakeCodeError) -> Self {
        match error {
            MakeCodeError::Store(error) => error.into(),
            MakeCodeError::Signer(error) => error.into(),
            MakeCodeError::Expiry(_) => Self::refused("expires", error.to_string()),
            MakeCodeError::Random(_) => Self::new(ProblemKind::Internal, error.to_string()),
        }
    }
}

impl From<EnrolmentCodeError> for Problem {
    fn from(error: EnrolmentCodeError) -> Self {
        let what = error.to_string();
        match error {
            EnrolmentCodeError::Outage(outage) => outage.into(),
            EnrolmentCodeError::NoTenant(_) => {
                Self::not_found(format!("{what}; GET /api/v1/tenants lists the tenants"))
            }
            EnrolmentCodeError::Unknown { tenant, .. } => Self::not_found(format!(
                "{what}; GET /api/v1/tenants/{tenant}/enrolment-codes lists the codes"
            )),
            EnrolmentCodeError::TooMany(_) => Self::new(
                ProblemKind::Conflict,
                format!("{what}: codes are deleted 90 days after they expired"),
            ),
        }
    }
}
