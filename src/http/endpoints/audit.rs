//! `/audit`: who changed what, the newest entry first. It only reads.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::clock;
use crate::domain::ids::TenantId;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Param, TextParam};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::audit::AuditEntryView;
use crate::store::reads::audit::{self, AuditCursor, AuditFilter};

/// The page and the filters of the audit log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditPageParams {
    /// Only entries that this search selects, such as `actor:console:* action:device.* since:7d
    /// -pump-7`. The keys are actor, action, tenant, device, since and until. A request with a
    /// term that excludes looks at 50,000 entries; `next` continues.
    search: Option<String>,
    /// Only entries of this tenant.
    tenant: Option<Param<TenantId>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<AuditCursor>>,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, AuditPageParams, NoBody>,
) -> Result<OkJson<Page<AuditEntryView>>, Problem> {
    let AuditPageParams { search, tenant, limit: Param(Limit(limit)), cursor } = call.query;
    let tenant = tenant.map(|Param(tenant)| tenant);
    let filter = AuditFilter::read(search.as_deref(), tenant)
        .map_err(|error| Problem::field("search", error.to_string()))?;
    let before = cursor.map(|Param(place)| place);
    let fetched = Page::<AuditEntryView>::fetch(limit);
    let (pool, now) = (api.database.pool(), clock::now());
    let rows = audit::list(pool, &filter, before, fetched, now).await?;
    let mut page = Page::new(rows, limit, |last| last.place().to_string());
    if page.next.is_none() {
        let end = audit::scan_end(pool, &filter, before, now).await?;
        page.next = end.map(|place| place.to_string());
    }
    Ok(OkJson(page))
}

impl TextParam for AuditCursor {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected the `next` of an earlier page".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "description": "The `next` of the previous page." })
    }
}
