//! The notices of certificates that end: one row of `device_pushes` for each device, which the
//! outbox publishes and the broker retains.
//!
//! A notice names the certificate that ends first and has no successor. It is written again when
//! the days that are left pass a limit, and withdrawn when the certificate is replaced, revoked or
//! expired. This module publishes nothing.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::certificates::NOT_REPLACED;
use crate::store::error::StoreError;

/// Devices per statement: when a whole fleet ends at once, no lock lasts long.
pub const ROWS_AT_ONCE: u64 = 5_000;

/// The advisory lock of a statement: two replicas would write the same notice twice.
const ADVISORY_KEY: i64 = 0x736c_7569_6365_000b;

/// The limit that a number of days is under; a notice is written again at each.
const LIMITS: &str = "CASE WHEN days <= 1 THEN 1 WHEN days <= 3 THEN 3 WHEN days <= 7 THEN 7 WHEN days <= 14 THEN 14 \
    WHEN days <= 30 THEN 30 ELSE 100000 END";

/// The days that notice `p` states; a row that a hand wrote may state none.
const STATED_DAYS: &str = "CASE jsonb_typeof(p.payload -> 'days_left') WHEN 'number' THEN (p.payload ->> 'days_left')::numeric ELSE 100000 END";

/// Which notices are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeTerms {
    /// The time.
    pub now: Timestamp,
    /// Certificates that end before this get a notice.
    pub ending_before: Timestamp,
    /// Whether the notice names the topic for the renewal.
    pub with_renew_topic: bool,
}

/// Writes the notices that are due, of at most [`ROWS_AT_ONCE`] devices; returns their number.
pub async fn write(pool: &PgPool, terms: NoticeTerms) -> Result<u64, Outage> {
    let write = async {
        let mut tx = pool.begin().await?;
        if !lock(&mut tx).await? {
            return Ok(0);
        }
        let written = sqlx::query(AssertSqlSafe(write_statement()))
            .bind(terms.now.to_utc())
            .bind(terms.ending_before.to_utc())
            .bind(terms.with_renew_topic)
            .bind(i64::try_from(ROWS_AT_ONCE).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?
            .rows_affected();
        wake_outbox(&mut tx, written).await?;
        tx.commit().await?;
        Ok::<u64, sqlx::Error>(written)
    };
    write.await.map_err(|error| StoreError::from(error).into())
}

/// Withdraws notices that are not due any more, of at most [`ROWS_AT_ONCE`] devices; returns their
/// number. Without `ending_before` no notice is due.
pub async fn withdraw(
    pool: &PgPool,
    now: Timestamp,
    ending_before: Option<Timestamp>,
) -> Result<u64, Outage> {
    let statement = format!(
        "UPDATE device_pushes p SET {WITHDRAWN} WHERE (tenant_id, device_id, kind) IN ( \
            SELECT p.tenant_id, p.device_id, p.kind FROM device_pushes p \
            WHERE p.kind = 'certificate' AND p.payload IS NOT NULL AND NOT ({still_due} AND c.not_after < $2)) \
            ORDER BY 1, 2 LIMIT $3 FOR UPDATE SKIP LOCKED)",
        still_due = still_due("$1"),
    );
    let withdraw = async {
        let mut tx = pool.begin().await?;
        let withdrawn = sqlx::query(AssertSqlSafe(statement))
            .bind(now.to_utc())
            .bind(ending_before.map(Timestamp::to_utc))
            .bind(i64::try_from(ROWS_AT_ONCE).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?
            .rows_affected();
        wake_outbox(&mut tx, withdrawn).await?;
        tx.commit().await?;
        Ok::<u64, sqlx::Error>(withdrawn)
    };
    withdraw.await.map_err(|error| StoreError::from(error).into())
}

/// Withdraws the notice of one device if its certificate has a successor or is not ACTIVE; takes
/// effect with the transaction.
pub async fn withdraw_ended(
    connection: &mut PgConnection,
    tenant: &str,
    device: &str,
) -> Result<(), sqlx::Error> {
    let statement = format!(
        "UPDATE device_pushes p SET {WITHDRAWN} WHERE p.tenant_id = $1 AND p.device_id = $2 AND p.kind = 'certificate' \
         AND p.payload IS NOT NULL AND NOT ({}))",
        still_due("now()")
    );
    let withdrawn = sqlx::query(AssertSqlSafe(statement))
        .bind(tenant)
        .bind(device)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    wake_outbox(connection, withdrawn).await
}

// === private helpers ===

const WITHDRAWN: &str = "payload = NULL, expires_at = NULL, revision = p.revision + 1, \
    dirty_since = coalesce(p.dirty_since, now())";

/// Whether the certificate of notice `p` is ACTIVE, not replaced, and ends after `now`. The
/// parenthesis is open for a further condition.
fn still_due(now: &str) -> String {
    format!(
        "EXISTS (SELECT FROM device_certificates c WHERE c.tenant_id = p.tenant_id AND c.device_id = p.device_id \
            AND c.id::text = p.payload ->> 'certificate_id' AND {NOT_REPLACED} AND c.not_after > {now}"
    )
}

fn write_statement() -> String {
    let limit_of = |days: &str| LIMITS.replace("days", days);
    let (of_end, of_notice) = (limit_of("e.remaining"), limit_of("p.stated"));
    format!(
        "WITH ending AS ( \
            SELECT DISTINCT ON (c.tenant_id, c.device_id) c.tenant_id, c.device_id, c.id, c.fingerprint_sha256, c.not_after, \
                ceil(extract(epoch FROM c.not_after - $1) / 86400) AS remaining \
            FROM device_certificates c JOIN devices d ON d.tenant_id = c.tenant_id AND d.device_id = c.device_id \
            WHERE {NOT_REPLACED} AND d.status = 'ACTIVE' AND c.not_after > $1 AND c.not_after < $2 \
            ORDER BY c.tenant_id, c.device_id, c.not_after, c.id), \
        noted AS ( \
            SELECT p.*, {STATED_DAYS} AS stated FROM device_pushes p WHERE p.kind = 'certificate' AND p.payload IS NOT NULL), \
        due AS ( \
            SELECT e.* FROM ending e LEFT JOIN noted p ON p.tenant_id = e.tenant_id AND p.device_id = e.device_id \
            WHERE p.payload IS NULL OR p.payload ->> 'certificate_id' IS DISTINCT FROM e.id::text OR {of_end} < {of_notice} \
            ORDER BY e.not_after, e.tenant_id, e.device_id LIMIT $4) \
        INSERT INTO device_pushes AS p (tenant_id, device_id, kind, payload, expires_at) \
        SELECT tenant_id, device_id, 'certificate', jsonb_strip_nulls(jsonb_build_object('kind', 'certificate-ends', \
            'certificate_id', id, 'fingerprint', fingerprint_sha256, \
            'not_after', to_char(not_after AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'days_left', due.remaining, \
            'renew_topic', CASE WHEN $3 THEN 'tenant/' || tenant_id || '/device/' || device_id || '/request/certificate/renew' \
                END)), not_after \
        FROM due ORDER BY tenant_id, device_id \
        ON CONFLICT (tenant_id, device_id, kind) DO UPDATE SET payload = excluded.payload, expires_at = excluded.expires_at, \
            revision = p.revision + 1, dirty_since = coalesce(p.dirty_since, now())"
    )
}

/// Whether this transaction got the lock; it ends with the transaction.
async fn lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(ADVISORY_KEY)
        .fetch_one(connection)
        .await
}

/// Notifies the outbox if rows were changed.
async fn wake_outbox(connection: &mut PgConnection, changed: u64) -> Result<(), sqlx::Error> {
    if changed > 0 {
        sqlx::query("SELECT pg_notify('sluice_outbox', '')").execute(connection).await?;
    }
    Ok(())
}
