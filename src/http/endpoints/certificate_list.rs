//! `/certificates`: the search for certificates, and how many end in which week.
//!
//! It only reads. The count of what a search finds is made only where the caller wants it.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;
use uuid::Uuid;

use crate::clock;
use crate::domain::certificate_search::CertificateSearch;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::page::{CountedPage, FoundRows, Page};
use crate::http::api::params::{Limit, Param, TextParam, Whole};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::authority::CertificateExpiryView;
use crate::http::views::certificates::CertificateView;
use crate::registry::certificates::find::{self, MAX_DAYS_AHEAD};
use crate::store::certificates::inventory::{self, CERTIFICATES_COUNTED_MAX, CertificateFilter};
use crate::store::certificates::{CertificateError, CertificateStatus};

/// The order of a list of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateSort {
    Name,
    End,
}

/// The page and the filters of certificates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificatePageParams {
    /// Only certificates of this tenant's devices.
    tenant: Option<Param<TenantId>>,
    /// Only certificates of this device; needs `tenant`.
    device: Option<Param<DeviceId>>,
    /// Only certificates with this status.
    status: Option<Param<CertificateStatus>>,
    /// Only ACTIVE certificates that expire within this number of days and have no ACTIVE
    /// successor; the first to expire comes first.
    expiring: Option<Param<Whole<0, MAX_DAYS_AHEAD>>>,
    /// Only certificates that this search finds.
    search: Option<Param<CertificateSearch>>,
    /// The order of the rows.
    sort: Option<Param<CertificateSort>>,
    /// Whether to count the certificates that the filters find. A count that takes long is
    /// at most a minute old.
    count: Option<Param<bool>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page, in the same order.
    cursor: Option<Param<Uuid>>,
}

/// Whose certificates to count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpiryParams {
    /// Only certificates of this tenant's devices.
    tenant: Option<Param<TenantId>>,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, CertificatePageParams, NoBody>,
) -> Result<OkJson<CountedPage<CertificateView>>, Problem> {
    let Param(Limit(limit)) = call.query.limit;
    let wants_count = matches!(call.query.count, Some(Param(true)));
    let filter = call.query.filter(clock::now())?;
    let pool = api.database.pool();
    let rows = inventory::list(pool, &filter, Page::<CertificateView>::fetch(limit)).await;
    let rows = rows.map_err(|error| match error {
        CertificateError::Unknown(_) => {
            Problem::field("cursor", "expected the `next` of an earlier page")
        }
        other => other.into(),
    })?;
    let page = Page::new(rows, limit, |last| last.id.to_string());
    // The only page has all of them.
    let is_whole = filter.after.is_none() && page.next.is_none();
    let counted = match (wants_count, is_whole) {
        (false, _) => None,
        (true, true) => u32::try_from(page.items.len()).ok(),
        (true, false) => {
            let what =
                CertificateFilter { after: None, now: Timestamp::default(), ..filter.clone() };
            Some(api.counts.certificates.get(&what, inventory::count(pool, &filter)).await?)
        }
    };
    let found = counted.map(|counted| FoundRows::of(counted, CERTIFICATES_COUNTED_MAX));
    Ok(OkJson(CountedPage::new(page, found)))
}

pub(crate) async fn expiry(
    api: Api,
    call: Call<NoParams, ExpiryParams, NoBody>,
) -> Result<OkJson<CertificateExpiryView>, Problem> {
    let tenant = call.query.tenant.as_ref().map(|Param(tenant)| tenant);
    let counting = inventory::count_ends(api.database.pool(), tenant, clock::now());
    Ok(OkJson(api.counts.ends.get(&tenant, counting).await?.into()))
}

// === impl CertificatePageParams ===

impl CertificatePageParams {
    fn filter(self, now: Timestamp) -> Result<CertificateFilter, Problem> {
        let (tenant, device) = match (self.tenant, self.device) {
            (Some(Param(tenant)), Some(Param(device))) => {
                (None, Some(DeviceKey::of(&tenant, &device)))
            }
            (None, Some(_)) => {
                return Err(Problem::field("tenant", "`device` needs the `tenant` of the device"));
            }
            (tenant, None) => (tenant.map(|Param(tenant)| tenant), None),
        };
        Ok(CertificateFilter {
            tenant,
            device,
            status: self.status.map(|Param(status)| status),
            ends_before: self.expiring.map(|Param(Whole(days))| find::days_ahead(now, days)),
            search: self.search.map(|Param(search)| search).unwrap_or_default(),
            is_by_end: matches!(self.sort, Some(Param(CertificateSort::End))),
            after: self.cursor.map(|Param(id)| id),
            now,
        })
    }
}

// === impl TextParam ===

impl TextParam for CertificateSearch {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: <Self as std::str::FromStr>::Err| error.to_string())
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "description": "Terms `key:value`; a word without a key is a device. `-` excludes, a repeated key means OR, a `*` at the end matches every end.",
            "examples": ["status:ACTIVE ends:<30d", "ends:2027-03 -replaced:yes pump-*"],
        })
    }
}

impl TextParam for CertificateSort {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "name" => Ok(Self::Name),
            "end" => Ok(Self::End),
            _ => Err("expected one of name, end".to_owned()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["name", "end"], "default": "name" })
    }
}
