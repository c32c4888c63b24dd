//! The view of the counts of refused messages.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::quarantine::facets::{ExactCounts, FacetCount, KeptCounts, TimeBars};

/// Counts of refused messages.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QuarantineFacets")]
pub(crate) struct FacetsView {
    /// The start of the period: a whole minute.
    pub(crate) since: DateTime<Utc>,
    /// The end of the period.
    pub(crate) until: DateTime<Utc>,
    /// Every refused message of the period, kept or not: exact.
    pub(crate) counted: CountedView,
    /// The messages that are kept and match all conditions.
    pub(crate) kept: KeptView,
}

/// Exact counts, of the counters of each minute. They know tenant and reason.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CountedRefusals")]
pub(crate) struct CountedView {
    /// All refused messages of the tenants and reasons.
    pub(crate) total: u64,
    /// Conditions that these counts cannot consider.
    pub(crate) without: Vec<String>,
    /// By reason, whatever reasons are selected.
    pub(crate) reasons: Vec<FacetCountView>,
    /// By tenant, whatever tenants the search selects; the 50 largest. Empty value: none in the topic.
    pub(crate) tenants: Vec<FacetCountView>,
    /// The width of a bar in seconds.
    pub(crate) step_seconds: i64,
    /// By time, at most 120 bars from `since` on.
    pub(crate) bars: Vec<u64>,
}

/// Counts of the kept messages, the newest 10,000.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KeptRefusals")]
pub(crate) struct KeptView {
    /// The number of messages, at most 10,000.
    pub(crate) total: u64,
    /// Whether there are more; then the other counts are of the newest ones.
    pub(crate) more: bool,
    /// When the oldest counted message was quarantined.
    pub(crate) oldest: Option<DateTime<Utc>>,
    /// By reason.
    pub(crate) reasons: Vec<FacetCountView>,
    /// By device as `<tenant>/<device>`; the 50 largest.
    pub(crate) devices: Vec<FacetCountView>,
}

/// How many messages have one value.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "FacetCount")]
pub(crate) struct FacetCountView {
    /// The value.
    pub(crate) value: String,
    /// The number of messages.
    pub(crate) count: u64,
}

// === impl FacetsView ===

impl FacetsView {
    /// The view of these counts. `without`: conditions that the exact ones do not consider.
    pub(crate) fn new(
        bars: TimeBars,
        exact: ExactCounts,
        kept: KeptCounts,
        without: Vec<String>,
    ) -> Self {
        Self {
            since: bars.since.to_utc(),
            until: bars.until.to_utc(),
            counted: CountedView {
                total: exact.total,
                without,
                reasons: views(exact.reasons),
                tenants: views(exact.tenants),
                step_seconds: bars.width,
                bars: exact.bars,
            },
            kept: KeptView {
                total: kept.total,
                more: kept.is_more,
                oldest: kept.oldest,
                reasons: views(kept.reasons),
                devices: views(kept.devices),
            },
        }
    }
}

// === private helpers ===

fn views(counts: Vec<FacetCount>) -> Vec<FacetCountView> {
    let view = |FacetCount { value, count }| FacetCountView { value, count };
    counts.into_iter().map(view).collect()
}
