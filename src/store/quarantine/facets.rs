//! Counts of refused messages: exact ones from the counters of each minute or hour, and those of the rows
//! that are kept.
//!
//! The counters know minute, tenant and reason; a device is known of kept rows only. It reads a
//! bounded number of kept rows, the newest.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, QueryBuilder};

use super::filter::{EventColumn, QuarantineFilter};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// The most bars of a histogram.
pub const BARS_MAX: i64 = 120;

/// Kept rows that are counted.
pub const KEPT_MAX: u64 = 10_000;

/// Values of a facet.
const VALUES_MAX: usize = 50;

/// Widths of bars, in seconds. From an hour on, a bar is a sum of whole hours.
const WIDTHS: [i64; 11] = [60, 120, 300, 600, HOUR, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800];

const HOUR: i64 = 3_600;

/// The bars of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBars {
    /// The start of the first bar: a whole minute.
    pub since: Timestamp,
    /// The end of the last bar.
    pub until: Timestamp,
    /// The width of a bar, in seconds.
    pub width: i64,
}

/// One value of a facet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetCount {
    /// The value; empty: the topic names none.
    pub value: String,
    /// How many messages.
    pub count: u64,
}

/// Exact counts of refused messages, whether they are kept or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExactCounts {
    /// All of them.
    pub total: u64,
    /// By reason, without the filter's own reasons.
    pub reasons: Vec<FacetCount>,
    /// By tenant, without the search's own tenants.
    pub tenants: Vec<FacetCount>,
    /// By bar.
    pub bars: Vec<u64>,
}

/// Counts of kept rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptCounts {
    /// The rows, at most [`KEPT_MAX`].
    pub total: u64,
    /// Whether there are more.
    pub is_more: bool,
    /// By reason.
    pub reasons: Vec<FacetCount>,
    /// By device, as `<tenant>/<device>`.
    pub devices: Vec<FacetCount>,
    /// When the oldest counted row was quarantined.
    pub oldest: Option<DateTime<Utc>>,
}

/// A group of kept rows.
#[derive(Debug, sqlx::FromRow)]
struct KeptGroup {
    tenant_id: Option<String>,
    device_id: Option<String>,
    reason: String,
    rows: i64,
    oldest: DateTime<Utc>,
}

/// Counts every refused message of the bars, exactly. `filter` gives tenants, and reasons; its other
/// conditions are not known of a message that is not kept.
pub async fn exact(
    pool: &PgPool,
    of_tenant: Option<&str>,
    filter: &QuarantineFilter,
    bars: TimeBars,
) -> Result<ExactCounts, Outage> {
    let (table, column) = bars.source();
    // Sums of floating point numbers are exact up to 2^53, and faster than those of numerics.
    let mut query = QueryBuilder::new("WITH counted AS MATERIALIZED (SELECT (extract(epoch FROM ");
    query.push(column).push(")::float8 - ").push_bind(seconds_of(bars.since));
    query.push(")::bigint / ").push_bind(bars.width);
    query.push(" AS bar, tenant_id, reason, sum(cnt::float8)::bigint AS cnt FROM ").push(table);
    query.push(" WHERE ").push(column).push(" >= ").push_bind(bars.since.to_utc());
    query.push(" AND ").push(column).push(" < ").push_bind(bars.until.to_utc());
    if let Some(tenant) = of_tenant {
        query.push(" AND tenant_id = ").push_bind(tenant.to_owned());
    }
    query.push(" GROUP BY 1, 2, 3) SELECT 'reason', reason, 0::bigint, sum(cnt)::bigint FROM counted WHERE ");
    filter.push_column_to(&mut query, EventColumn::Tenant);
    query.push(" GROUP BY reason UNION ALL (SELECT 'tenant', tenant_id, 0, sum(cnt)::bigint FROM counted WHERE ");
    filter.push_column_to(&mut query, EventColumn::Reason);
    query.push(" GROUP BY tenant_id ORDER BY 4 DESC, 2 LIMIT ");
    query.push_bind(i64::try_from(VALUES_MAX).unwrap_or(i64::MAX));
    query.push(") UNION ALL SELECT 'bar', '', bar, sum(cnt)::bigint FROM counted WHERE ");
    filter.push_column_to(&mut query, EventColumn::Tenant);
    query.push(" AND ");
    filter.push_column_to(&mut query, EventColumn::Reason);
    query.push(" GROUP BY bar");
    let rows: Vec<(String, String, i64, i64)> =
        query.build_query_as().fetch_all(pool).await.map_err(StoreError::from)?;
    Ok(ExactCounts::of(rows, bars))
}

/// Counts the kept rows of the filter: the newest [`KEPT_MAX`].
pub async fn kept(pool: &PgPool, filter: &QuarantineFilter) -> Result<KeptCounts, Outage> {
    let mut query = QueryBuilder::new(
        "SELECT tenant_id, device_id, reason, count(*) AS rows, min(quarantined_at) AS oldest \
         FROM (SELECT tenant_id, device_id, reason, quarantined_at FROM ",
    );
    filter.push_source(&mut query, None);
    query.push(" ORDER BY quarantined_at DESC, id DESC LIMIT ");
    query.push_bind(KEPT_MAX.cast_signed() + 1).push(") AS newest GROUP BY 1, 2, 3");
    let groups: Vec<KeptGroup> =
        query.build_query_as().fetch_all(pool).await.map_err(StoreError::from)?;
    Ok(KeptCounts::of(groups))
}

// === impl TimeBars ===

impl TimeBars {
    /// At most [`BARS_MAX`] bars of whole minutes over a range.
    pub fn over(since: Timestamp, until: Timestamp) -> Self {
        let span = |from: Timestamp| until.micros().saturating_sub(from.micros()) / 1_000_000;
        let fits = |width: &i64| span(since).div_euclid(*width) < BARS_MAX - 1;
        let longest = WIDTHS[WIDTHS.len() - 1];
        let width = WIDTHS.into_iter().find(fits).unwrap_or_else(|| {
            span(since).div_euclid(BARS_MAX - 2).div_euclid(longest) * longest + longest
        });
        let unit = width.min(HOUR) * 1_000_000;
        let since = Timestamp::from_micros(
            since.micros() - since.micros().rem_euclid(unit.max(60_000_000)),
        );
        let seconds = span(since).max(60);
        let bars = seconds.div_euclid(width) + 1;
        Self { since, until: since.plus_seconds(bars * width), width }
    }

    /// The counters whose sums the bars are: table and column.
    const fn source(&self) -> (&'static str, &'static str) {
        if self.width < HOUR {
            ("quarantine_counters_minute", "bucket_minute")
        } else {
            ("quarantine_counters_hour", "bucket_hour")
        }
    }

    /// The number of bars.
    pub fn count(&self) -> usize {
        let seconds = (self.until.micros() - self.since.micros()) / 1_000_000;
        usize::try_from(seconds / self.width).unwrap_or(0)
    }
}

// === impl ExactCounts ===

impl ExactCounts {
    fn of(rows: Vec<(String, String, i64, i64)>, bars: TimeBars) -> Self {
        let mut counts = Self { bars: vec![0; bars.count()], ..Self::default() };
        for (kind, value, bar, count) in rows {
            let count = count.unsigned_abs();
            match kind.as_str() {
                "reason" => counts.reasons.push(FacetCount { value, count }),
                "tenant" => counts.tenants.push(FacetCount { value, count }),
                _ => {
                    counts.total += count;
                    let bar = usize::try_from(bar).ok().and_then(|bar| counts.bars.get_mut(bar));
                    if let Some(bar) = bar {
                        *bar += count;
                    }
                }
            }
        }
        sort(&mut counts.reasons);
        sort(&mut counts.tenants);
        counts
    }
}

// === impl KeptCounts ===

impl KeptCounts {
    fn of(groups: Vec<KeptGroup>) -> Self {
        let mut counts = Self::default();
        let (mut reasons, mut devices) = (BTreeMap::new(), BTreeMap::new());
        for group in groups {
            let rows = group.rows.unsigned_abs();
            counts.total += rows;
            counts.oldest = [counts.oldest, Some(group.oldest)].into_iter().flatten().min();
            *reasons.entry(group.reason).or_insert(0) += rows;
            if let (Some(tenant), Some(device)) = (group.tenant_id, group.device_id) {
                *devices.entry(format!("{tenant}/{device}")).or_insert(0) += rows;
            }
        }
        counts.is_more = counts.total > KEPT_MAX;
        counts.total = counts.total.min(KEPT_MAX);
        counts.reasons = values(reasons);
        counts.devices = values(devices);
        counts
    }
}

// === private helpers ===

#[expect(clippy::cast_precision_loss, reason = "whole seconds are far below 2^53")]
fn seconds_of(time: Timestamp) -> f64 {
    (time.micros() / 1_000_000) as f64
}

fn values(counts: BTreeMap<String, u64>) -> Vec<FacetCount> {
    let mut values: Vec<FacetCount> =
        counts.into_iter().map(|(value, count)| FacetCount { value, count }).collect();
    sort(&mut values);
    values.truncate(VALUES_MAX);
    values
}

fn sort(values: &mut [FacetCount]) {
    values.sort_by(|one, other| {
        other.count.cmp(&one.count).then_with(|| one.value.cmp(&other.value))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_bars_of_a_readable_width_and_not_too_many() {
        let start = Timestamp::from_micros(1_795_000_000_000_000);
        for (seconds, width) in [
            (1, 60),
            (3_600, 60),
            (7_200, 120),
            (86_400, 3_600),
            (604_800, 7_200),
            (31_536_000, 604_800),
        ] {
            let bars = TimeBars::over(start, start.plus_seconds(seconds));
            assert_eq!(bars.width, width, "{seconds}");
            assert!(i64::try_from(bars.count()).unwrap() <= BARS_MAX, "{bars:?}");
            assert!(bars.until >= start.plus_seconds(seconds) && bars.since <= start);
        }
        let decades = TimeBars::over(start.plus_seconds(-3_000_000_000), start);
        assert!(i64::try_from(decades.count()).unwrap() <= BARS_MAX, "{decades:?}");
    }
}
