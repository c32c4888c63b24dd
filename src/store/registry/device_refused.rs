//! The condition of the search `refused`: the devices that the quarantine has messages of.
//!
//! Two ways find the same devices. After few refusals it is faster to read them all; after many it
//! is faster to look each device up. It reads the counters to choose, and no event.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::domain::device_search::DeviceSearch;
use crate::domain::search::SearchValue;
use crate::domain::time::Timestamp;

/// The key of the search.
pub(super) const REFUSED: &str = "refused";

/// Refused messages that are read faster than 100,000 devices are looked up.
const SCANNED_MAX: i64 = 100_000;

/// The refused messages of the hours since a time.
const NUMBER: &str = "SELECT coalesce(sum(cnt), 0)::bigint FROM quarantine_counters_hour \
    WHERE bucket_hour >= date_trunc('hour', $1::timestamptz)";

/// How the condition is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedWay {
    /// The events of the span are read once.
    Scan,
    /// Each device is looked up in the index of the events.
    LookUp,
}

// === impl RefusedWay ===

impl RefusedWay {
    /// The faster way for this search.
    pub async fn of(
        connection: &mut PgConnection,
        search: &DeviceSearch,
        now: Timestamp,
    ) -> Result<Self, sqlx::Error> {
        let spans = search.0.terms().iter().filter(|term| term.key == REFUSED);
        let longest = spans.filter_map(|term| match term.value {
            SearchValue::Span(span) => Some(span),
            _ => None,
        });
        let Some(span) = longest.max() else { return Ok(Self::Scan) };
        let since = now.plus_seconds(-span).to_utc();
        let number: i64 = sqlx::query_scalar(NUMBER).bind(since).fetch_one(connection).await?;
        Ok(if number > SCANNED_MAX { Self::LookUp } else { Self::Scan })
    }

    /// Pushes the condition on the device `d`: it has an event since then.
    pub fn push(self, query: &mut QueryBuilder<Postgres>, since: Timestamp) {
        match self {
            Self::Scan => query.push(
                "(d.tenant_id, d.device_id) IN (SELECT q.tenant_id, q.device_id FROM quarantine_events q \
                 WHERE q.quarantined_at >= ",
            ),
            // `OFFSET 0` keeps Postgres from turning the lookups into a join of both tables.
            Self::LookUp => query.push(
                "EXISTS (SELECT FROM quarantine_events q WHERE q.device_id = d.device_id \
                 AND q.tenant_id = d.tenant_id AND q.quarantined_at >= ",
            ),
        };
        query.push_bind(since.to_utc());
        query.push(if self == Self::LookUp { " OFFSET 0)" } else { ")" });
    }
}
