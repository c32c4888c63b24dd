//! `/quarantine/facets`: how many messages were refused, by reason, tenant, device and time.
//!
//! Exact counts come from the counters; those of devices from the kept messages.

use super::quarantine::{QuarantineSelection, filter_of_fields};
use crate::clock;
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::link::LinkName;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::params::Param;
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::facets::FacetsView;
use crate::store::quarantine::facets::{self, TimeBars};
use crate::store::quarantine::filter::{EventColumn, QuarantineFilter};

use schemars::JsonSchema;
use serde::Deserialize;

/// The period without `since`: seven days.
const PERIOD_SECONDS: i64 = 7 * 86_400;

/// The filters of the counts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FacetParams {
    /// Only messages of this tenant.
    tenant: Option<Param<TenantId>>,
    /// Only messages of this device.
    device: Option<Param<DeviceId>>,
    /// Only messages that were refused for this reason.
    reason: Option<Param<Reason>>,
    /// Only messages that came over this link.
    link: Option<Param<LinkName>>,
    /// Only messages that were quarantined at this time or later; default: seven days before `until`.
    since: Option<Param<Timestamp>>,
    /// Only messages that were quarantined before this time; default: now.
    until: Option<Param<Timestamp>>,
    /// Only messages that were replayed (`true`), or that were not (`false`).
    replayed: Option<Param<bool>>,
    /// Only messages that this search selects, such as `tenant:acme reason:TOKEN_INVALID -pump-7`.
    search: Option<String>,
}

pub(crate) async fn facets(
    api: Api,
    call: Call<NoParams, FacetParams, NoBody>,
) -> Result<OkJson<FacetsView>, Problem> {
    let params = call.query;
    let bound_to = params.tenant.as_ref().map(|Param(tenant)| tenant.to_string());
    let mut filter = filter_of_fields(QuarantineSelection {
        ids: Vec::new(),
        tenant: params.tenant,
        device: params.device,
        reason: params.reason,
        link: params.link,
        since: params.since,
        until: params.until,
        search: params.search,
    })?;
    filter.replayed = filter.replayed.or(params.replayed.map(|Param(replayed)| replayed));
    let until = filter.until.unwrap_or_else(clock::now);
    let since = filter.since.unwrap_or_else(|| until.plus_seconds(-PERIOD_SECONDS));
    if since >= until {
        return Err(Problem::field("since", "expected a time before `until`"));
    }
    filter.since = Some(since);
    let bars = TimeBars::over(since, until);
    let pool = api.database.pool();
    let exact = facets::exact(pool, bound_to.as_deref(), &filter, bars).await?;
    let what = QuarantineFilter {
        since: filter.since.map(minute),
        until: filter.until.map(minute),
        ..filter.clone()
    };
    let kept = api.counts.refused.get(&what, facets::kept(pool, &filter)).await?;
    Ok(OkJson(FacetsView::new(bars, exact, kept, not_counted(&filter))))
}

// === private helpers ===

/// The minute of a time: a span of a search ends with the moment of the request, and equal searches of
/// a minute share their count.
const fn minute(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.micros().div_euclid(60_000_000) * 60_000_000)
}

/// The conditions that the counters know nothing of.
fn not_counted(filter: &QuarantineFilter) -> Vec<String> {
    let has = |column| filter.conditions.iter().any(|condition| condition.column == column);
    [
        ("device", filter.device.is_some() || has(EventColumn::Device)),
        ("site", has(EventColumn::Site)),
        ("link", filter.link.is_some() || has(EventColumn::Link)),
        ("topic", has(EventColumn::Topic)),
        ("id", !filter.ids.is_empty() || has(EventColumn::Id)),
        ("replayed", filter.replayed.is_some()),
    ]
    .into_iter()
    .filter(|(_, is_there)| *is_there)
    .map(|(name, _)| name.to_owned())
    .collect()
}
