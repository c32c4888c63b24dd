//! `/shadow`: show what a device should be and what it says it is; set, patch and clear what is
//! desired; list the devices that are not in sync.
//!
//! A change may name the version that it is for.

use schemars::JsonSchema;
use serde::Deserialize;

use super::devices::DevicePath;
use super::tenants::TenantPath;
use crate::domain::ids::{DeviceId, DeviceKey};
use crate::downlink::document::JsonDocument;
use crate::downlink::shadow::{self as downlink, Precondition, ShadowChange};
use crate::http::api::condition::{Conditional, JsonText, VersionedJson};
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Param};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::shadows::ShadowView;
use crate::store::downlink::shadows::{ShadowFilter, ShadowRow};

/// The page and the filter of shadows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowPageParams {
    /// Only devices that are in sync (`true`), or that are not (`false`). A page compares at most
    /// 1000 devices: with `next` it may have few rows, or none.
    in_sync: Option<Param<bool>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<DeviceId>>,
}

pub(crate) async fn list(
    api: Api,
    call: Call<TenantPath, ShadowPageParams, NoBody>,
) -> Result<OkJson<Page<ShadowView>>, Problem> {
    let Param(Limit(limit)) = call.query.limit;
    let filter = ShadowFilter {
        tenant: call.path.tenant.0,
        in_sync: call.query.in_sync.map(|Param(in_sync)| in_sync),
        after: call.query.cursor.map(|Param(device)| device.to_string()),
    };
    let fetched = Page::<ShadowView>::fetch(limit);
    let found = downlink::list(api.downlink_context(), &filter, fetched).await?;
    let mut page = Page::new(found.rows, limit, |last: &ShadowRow| last.device_id.clone());
    page.next = page.next.or(found.compared_to);
    Ok(OkJson(page))
}

pub(crate) async fn show(
    api: Api,
    call: Call<DevicePath, NoParams, NoBody>,
) -> Result<VersionedJson<ShadowView>, Problem> {
    Ok(versioned(downlink::show(api.downlink_context(), &call.path.key()).await?))
}

pub(crate) async fn set(
    api: Api,
    call: Call<DevicePath, NoParams, Conditional<JsonText>>,
) -> Result<VersionedJson<ShadowView>, Problem> {
    let Conditional { condition, body: JsonText(text) } = call.body;
    let document = read(&api, &text)?;
    change(&api, &call.path.key(), &ShadowChange::Set(document), condition).await
}

pub(crate) async fn patch(
    api: Api,
    call: Call<DevicePath, NoParams, Conditional<JsonText>>,
) -> Result<VersionedJson<ShadowView>, Problem> {
    let Conditional { condition, body: JsonText(text) } = call.body;
    let patch = read(&api, &text)?;
    change(&api, &call.path.key(), &ShadowChange::Patch(patch), condition).await
}

pub(crate) async fn clear(
    api: Api,
    call: Call<DevicePath, NoParams, Conditional<NoBody>>,
) -> Result<VersionedJson<ShadowView>, Problem> {
    change(&api, &call.path.key(), &ShadowChange::Clear, call.body.condition).await
}

// === private helpers ===

fn read(api: &Api, text: &[u8]) -> Result<JsonDocument, Problem> {
    Ok(JsonDocument::read(text, api.config.downlink.shadow_max_bytes)?)
}

async fn change(
    api: &Api,
    device: &DeviceKey,
    change: &ShadowChange,
    condition: Precondition,
) -> Result<VersionedJson<ShadowView>, Problem> {
    Ok(versioned(downlink::change(api.downlink_context(), device, change, condition).await?))
}

fn versioned(row: ShadowRow) -> VersionedJson<ShadowView> {
    VersionedJson { version: row.desired_version, value: row.into() }
}
