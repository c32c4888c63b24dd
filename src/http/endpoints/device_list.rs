//! `/devices`: the search for devices, of all tenants and of one.
//!
//! It only reads. The count of what a search finds is made only where the caller wants it.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::tenants;
use crate::clock;
use crate::domain::device::DeviceStatus;
use crate::domain::device_search::DeviceSearch;
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::page::{CountedPage, FoundRows, Page};
use crate::http::api::params::{Limit, Param, TextParam};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::devices::DeviceListView;
use crate::store::registry::device_list::{
    self as rows, COUNTED_MAX, DeviceListFilter, DeviceListRow,
};
use crate::store::registry::device_order::{DevicePlace, DeviceSort};

/// The page and the filters of devices of all tenants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevicePageParams {
    /// Only devices of this tenant.
    tenant: Option<Param<TenantId>>,
    /// Only devices with this status.
    status: Option<Param<DeviceStatus>>,
    /// Only devices that this search finds.
    search: Option<Param<DeviceSearch>>,
    /// The order of the rows.
    sort: Option<Param<DeviceSort>>,
    /// Whether to count the devices that the filters find. A count that takes long is
    /// at most a minute old.
    count: Option<Param<bool>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page, in the same order.
    cursor: Option<Param<DevicePlace>>,
}

/// The page and the filters of devices of one tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantDevicePageParams {
    /// Only devices with this status.
    status: Option<Param<DeviceStatus>>,
    /// Only devices that this search finds.
    search: Option<Param<DeviceSearch>>,
    /// The order of the rows.
    sort: Option<Param<DeviceSort>>,
    /// Whether to count the devices that the filters find. A count that takes long is
    /// at most a minute old.
    count: Option<Param<bool>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page, in the same order.
    cursor: Option<Param<DevicePlace>>,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, DevicePageParams, NoBody>,
) -> Result<OkJson<CountedPage<DeviceListView>>, Problem> {
    page(&api, call.query).await
}

pub(crate) async fn list_of(
    api: Api,
    call: Call<tenants::TenantPath, TenantDevicePageParams, NoBody>,
) -> Result<OkJson<CountedPage<DeviceListView>>, Problem> {
    let TenantDevicePageParams { status, search, sort, count, limit, cursor } = call.query;
    let tenant = Some(call.path.tenant);
    page(&api, DevicePageParams { tenant, status, search, sort, count, limit, cursor }).await
}

// === impl TextParam ===

impl TextParam for DeviceSearch {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: <Self as std::str::FromStr>::Err| error.to_string())
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "description": "Terms `key:value`; a word without a key is a name. `-` excludes, a repeated key means OR, a `*` at the end matches every end.",
            "examples": ["silent:1h -device:pump-7 pump-*", "certificate:ending:30d"],
        })
    }
}

impl TextParam for DeviceSort {
    fn read(text: &str) -> Result<Self, String> {
        let labels = Self::ALL.map(Self::label).join(", ");
        Self::from_label(text).ok_or_else(|| format!("expected one of {labels}"))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::label), "default": "name" })
    }
}

/// As a cursor, it is `<tenant>/<device>`, with the time before it where that is the order.
impl TextParam for DevicePlace {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected the `next` of an earlier page".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

// === private helpers ===

/// How many devices the filter finds, in any place.
async fn count(api: &Api, filter: &DeviceListFilter) -> Result<u32, Problem> {
    let what = DeviceListFilter {
        after: None,
        sort: DeviceSort::default(),
        now: Timestamp::default(),
        ..filter.clone()
    };
    let counting = rows::count(api.database.pool(), filter);
    Ok(api.counts.devices.get(&what, counting).await?)
}

async fn page(
    api: &Api,
    query: DevicePageParams,
) -> Result<OkJson<CountedPage<DeviceListView>>, Problem> {
    let Param(Limit(limit)) = query.limit;
    let filter = DeviceListFilter {
        tenant: query.tenant.map(|Param(tenant)| tenant),
        status: query.status.map(|Param(status)| status),
        search: query.search.map(|Param(search)| search).unwrap_or_default(),
        sort: query.sort.map(|Param(sort)| sort).unwrap_or_default(),
        after: query.cursor.map(|Param(place)| place),
        now: clock::now(),
    };
    if filter.fits().is_err() {
        let why = "expected the `next` of an earlier page with the same `sort`";
        return Err(Problem::field("cursor", why));
    }
    let pool = api.database.pool();
    let fetched = Page::<DeviceListView>::fetch(limit);
    let rows = rows::list(pool, &filter, fetched).await?;
    let counted = match query.count {
        Some(Param(true)) => {
            // The only page has all of them.
            let is_only = filter.after.is_none() && rows.len() < fetched as usize;
            let counted = match u32::try_from(rows.len()) {
                Ok(number) if is_only => number,
                _ => count(api, &filter).await?,
            };
            Some(counted)
        }
        _ => None,
    };
    let place = |last: &DeviceListRow| last.place(filter.sort).to_string();
    let page = Page::new(rows, limit, place);
    let found = counted.map(|counted| FoundRows::of(counted, COUNTED_MAX));
    Ok(OkJson(CountedPage::new(page, found)))
}
