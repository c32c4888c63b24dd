//! Guest credentials: inserted up to a bound, found by identifier, deleted after they expire.
//!
//! It sees hashes and never a token, and stores nothing about the caller.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;

/// Rows per DELETE, so that no lock lasts long.
const PURGED_AT_ONCE: i64 = 5_000;

/// Statements per round; the next round deletes the rest.
const PURGES: u32 = 50;

const ADD: &str = "INSERT INTO guest_credentials (guest_id, token_sha256, expires_at) SELECT $1, $2, $3 \
    WHERE (SELECT count(*) FROM guest_credentials WHERE expires_at > now()) < $4";

const PURGE: &str = "DELETE FROM guest_credentials WHERE guest_id IN \
    (SELECT guest_id FROM guest_credentials WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// One stored credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestRow {
    /// The hash of its token.
    pub token: TokenHash,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Inserts `row` unless `bound` credentials are valid; returns whether it did. Replicas that insert
/// at the same moment may exceed the bound by their number.
pub async fn add(pool: &PgPool, id: Uuid, row: &GuestRow, bound: u32) -> Result<bool, Outage> {
    let added = sqlx::query(ADD)
        .bind(id)
        .bind(row.token.0.as_slice())
        .bind(row.expires_at.to_utc())
        .bind(i64::from(bound))
        .execute(pool)
        .await
        .map_err(outage)?;
    Ok(added.rows_affected() > 0)
}

/// Finds the credential `id`, also an expired one that is not deleted yet.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<GuestRow>, Outage> {
    let query = sqlx::query_as(
        "SELECT token_sha256, expires_at FROM guest_credentials WHERE guest_id = $1",
    );
    let found: Option<(Vec<u8>, DateTime<Utc>)> =
        query.bind(id).fetch_optional(pool).await.map_err(outage)?;
    // A check of the table allows this length only.
    Ok(found.and_then(|(token, end)| {
        Some(GuestRow {
            token: TokenHash(token.try_into().ok()?),
            expires_at: Timestamp::from(end),
        })
    }))
}

/// Deletes expired credentials; returns their number. Replicas may call it at the same
/// time.
pub async fn purge(pool: &PgPool) -> Result<u64, Outage> {
    let mut purged = 0;
    for _ in 0..PURGES {
        let done = sqlx::query(PURGE)
            .bind(PURGED_AT_ONCE)
            .execute(pool)
            .await
            .map_err(outage)?
            .rows_affected();
        purged += done;
        if done < PURGED_AT_ONCE.unsigned_abs() {
            break;
        }
    }
    Ok(purged)
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}
