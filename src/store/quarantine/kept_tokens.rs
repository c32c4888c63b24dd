//! Which tokens the kept messages of a device carry, by their hashes, and whether another device has
//! the same one.
//!
//! It compares hashes and returns none but the single one. It reads a bounded number of rows.

use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;

/// Kept messages whose tokens are compared.
pub const COMPARED_MAX: i64 = 50_000;

/// Kept messages, the newest of all devices, in which another device's token is looked for.
const RECENT_MAX: i64 = 20_000;

const TOKENS: &str = "WITH kept AS MATERIALIZED (SELECT id, token_sha256, quarantined_at FROM quarantine_events \
        WHERE device_id = $2 AND tenant_id = $1 ORDER BY quarantined_at DESC, id DESC LIMIT $3) \
    SELECT count(*) AS messages, count(token_sha256) AS with_token, count(DISTINCT token_sha256) AS tokens, \
        max(token_sha256) AS token, (SELECT id FROM kept WHERE token_sha256 IS NOT NULL \
            ORDER BY quarantined_at DESC, id DESC LIMIT 1) AS event FROM kept";

/// Among the devices, and among the newest kept messages; of one tenant, or of all.
const SHARED: &str = "SELECT EXISTS (SELECT FROM devices WHERE provision_token_hash = $1 \
        AND (tenant_id, device_id) <> ($2, $3) AND ($5 OR tenant_id = $2)) \
    OR EXISTS (SELECT FROM (SELECT tenant_id, device_id, token_sha256 FROM quarantine_events \
            ORDER BY quarantined_at DESC, id DESC LIMIT $4) AS recent \
        WHERE token_sha256 = $1 AND (tenant_id, device_id) IS DISTINCT FROM ($2, $3) AND ($5 OR tenant_id = $2))";

/// The tokens of the kept messages of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTokens {
    /// The messages, at most one more than [`COMPARED_MAX`].
    pub messages: u64,
    /// How many of them carry a token.
    pub with_token: u64,
    /// How many different tokens there are.
    pub tokens: u64,
    /// One of them; the only one if there is one.
    pub token: Option<TokenHash>,
    /// The newest message with a token.
    pub event: Option<Uuid>,
}

#[derive(sqlx::FromRow)]
struct TokensRow {
    messages: i64,
    with_token: i64,
    tokens: i64,
    token: Option<String>,
    event: Option<Uuid>,
}

/// Reads the tokens of the kept messages of a device.
pub async fn of_device(pool: &PgPool, key: &DeviceKey) -> Result<KeptTokens, Outage> {
    let row: TokensRow = sqlx::query_as(TOKENS)
        .bind(key.tenant())
        .bind(key.device())
        .bind(COMPARED_MAX + 1)
        .fetch_one(pool)
        .await
        .map_err(StoreError::from)?;
    Ok(KeptTokens {
        messages: row.messages.unsigned_abs(),
        with_token: row.with_token.unsigned_abs(),
        tokens: row.tokens.unsigned_abs(),
        token: row.token.as_deref().and_then(TokenHash::from_hex),
        event: row.event,
    })
}

/// Whether another device has this token, or sent it in one of the newest kept messages. Not `in_all`:
/// only devices of the same tenant count, so that a caller who is bound to it learns of no other.
pub async fn is_shared(
    pool: &PgPool,
    token: &TokenHash,
    key: &DeviceKey,
    in_all: bool,
) -> Result<bool, Outage> {
    let shared = sqlx::query_scalar(SHARED)
        .bind(token.to_hex())
        .bind(key.tenant())
        .bind(key.device())
        .bind(RECENT_MAX)
        .bind(in_all)
        .fetch_one(pool)
        .await
        .map_err(StoreError::from)?;
    Ok(shared)
}
