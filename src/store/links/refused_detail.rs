//! One dead letter with its payload, their number, those of a tenant, and their places as text.
//!
//! It changes nothing.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, QueryBuilder};

use super::refused::{DeadLetter, RefusedFilter, RefusedPlace};
use crate::domain::ids::TenantId;
use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// A dead letter with its payload.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DeadLetterDetail {
    /// What a list shows of it.
    #[sqlx(flatten)]
    pub summary: DeadLetter,
    /// The payload without its token.
    pub payload: Vec<u8>,
}

/// The dead letters of one tenant at one link.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct TenantDeadLetters {
    /// The link.
    pub link: String,
    /// Their number.
    pub refused: i64,
    /// When the first was refused.
    pub first_refused_at: DateTime<Utc>,
    /// When the last was refused.
    pub last_refused_at: DateTime<Utc>,
}

/// The text is no [`RefusedPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a cursor, as printed by `sluice link refused list`")]
pub struct InvalidRefusedPlace;

/// The dead letter with this identifier.
pub async fn find(
    pool: &PgPool,
    link: &LinkName,
    id: i64,
) -> Result<Option<DeadLetterDetail>, Outage> {
    let query = sqlx::query_as(
        "SELECT *, octet_length(payload) AS payload_bytes FROM link_refused WHERE link = $1 AND id = $2",
    );
    let query = query.bind(link.as_str()).bind(id);
    Ok(query.fetch_optional(pool).await.map_err(StoreError::from)?)
}

/// The number of dead letters.
pub async fn count(pool: &PgPool, filter: &RefusedFilter) -> Result<u64, Outage> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM link_refused WHERE ");
    filter.push_to(&mut query);
    let query = query.build_query_scalar();
    let count: i64 = query.fetch_one(pool).await.map_err(StoreError::from)?;
    Ok(count.unsigned_abs())
}

/// The links that did not accept messages of the tenant, by name.
pub async fn of_tenant(pool: &PgPool, tenant: &TenantId) -> Result<Vec<TenantDeadLetters>, Outage> {
    let query = sqlx::query_as(
        "SELECT link, count(*) AS refused, min(refused_at) AS first_refused_at, max(refused_at) AS last_refused_at \
        FROM link_refused WHERE tenant_id = $1 GROUP BY link ORDER BY link",
    );
    Ok(query.bind(tenant.as_str()).fetch_all(pool).await.map_err(StoreError::from)?)
}

// === impl RefusedFilter ===

impl RefusedFilter {
    /// Whether it selects every dead letter.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

// === impl RefusedPlace ===

impl fmt::Display for RefusedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at.micros(), self.id, self.link)
    }
}

impl FromStr for RefusedPlace {
    type Err = InvalidRefusedPlace;

    fn from_str(text: &str) -> Result<Self, InvalidRefusedPlace> {
        let read = || {
            let mut parts = text.splitn(3, '.');
            let at = Timestamp::from_micros(parts.next()?.parse().ok()?);
            let id = parts.next()?.parse().ok()?;
            let link: LinkName = parts.next()?.parse().ok()?;
            at.is_storable().then(|| Self { at, link: link.to_string(), id })
        };
        read().ok_or(InvalidRefusedPlace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        let place = RefusedPlace { at: Timestamp::from_micros(7), link: "a-b".into(), id: -3 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "7.1", "x.1.a", "7.1.A", "7.1.a b", "9223372036854775807.1.a"] {
            assert_eq!(text.parse::<RefusedPlace>(), Err(InvalidRefusedPlace), "{text}");
        }
    }
}
