//! Deletes the rows of certificates that ended long ago: `CERTIFICATE_RETENTION_DAYS`.
//!
//! It keeps what still matters after the end. A certificate that was revoked for cause bans its key. The
//! successor of a row that is still there proves that an old request was used. A revocation stays until a
//! CRL that was made after the end has listed it. It decides no retention: the caller gives the cutoff.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Postgres};

use super::expiry::SUPERSEDED;
use crate::store::registry::devices::REMOVED;

/// Rows per statement, so that no lock lasts long.
const ROWS_AT_ONCE: i64 = 2_000;

/// Statements per table and round; the next round deletes the rest.
const STEPS: usize = 50;

macro_rules! due {
    () => {
        "c.not_after < $1 AND (c.status = 'EXPIRED' OR c.status = 'REVOKED' AND c.revoked_reason IN ($2, $3)) \
         AND NOT EXISTS (SELECT FROM device_certificates o WHERE o.id = c.replaces AND o.status <> 'REVOKED')"
    };
}

const ARE_DUE: &str =
    concat!("SELECT EXISTS (SELECT FROM device_certificates c WHERE ", due!(), ")");

const CERTIFICATES: &str = concat!(
    "WITH due AS (SELECT c.id FROM device_certificates c WHERE ",
    due!(),
    " LIMIT $4 FOR UPDATE OF c SKIP LOCKED), \
    gone AS (DELETE FROM device_certificates c USING due WHERE c.id = due.id RETURNING c.id), \
    noted AS (INSERT INTO audit_log (actor, action, detail) SELECT 'keeper', 'certificate.purge', \
        jsonb_build_object('certificates', count(*), 'ended_before', $1) FROM gone HAVING count(*) > 0) \
    SELECT count(*) FROM gone"
);

/// A CRL begins five minutes before it is published. That of another authority is signed elsewhere.
const REVOCATIONS: &str = "WITH due AS (SELECT r.certificate_id FROM revoked_certificates r \
        WHERE r.not_after < $1 AND NOT EXISTS (SELECT FROM crl_state s WHERE s.issuer = r.issuer \
            AND (s.published_at IS NULL OR s.published_at - interval '5 minutes' <= r.not_after)) \
        LIMIT $2 FOR UPDATE OF r SKIP LOCKED), \
    gone AS (DELETE FROM revoked_certificates r USING due WHERE r.certificate_id = due.certificate_id RETURNING 1) \
    SELECT count(*) FROM gone";

/// The steps of revocations whose row is gone, here or by replication. Not while rows are still copied.
const STEPS_OF_REVOCATIONS: &str = "WITH due AS (SELECT p.certificate_id FROM certificate_revocations p \
        WHERE p.noticed_at < $1 AND NOT EXISTS (SELECT FROM revoked_certificates r WHERE r.certificate_id = p.certificate_id) \
            AND NOT EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
                JOIN pg_subscription_rel l ON l.srsubid = s.oid AND l.srsubstate NOT IN ('r', 's') \
                WHERE d.datname = current_database()) \
        LIMIT $2 FOR UPDATE OF p SKIP LOCKED), \
    gone AS (DELETE FROM certificate_revocations p USING due WHERE p.certificate_id = due.certificate_id RETURNING 1) \
    SELECT count(*) FROM gone";

/// In a cell the rows are a copy, which the registry's Sluice keeps.
const IS_CELL: &str = "SELECT EXISTS (SELECT FROM cell WHERE left_at IS NULL)";

/// Whether a certificate that ended before `cutoff` would be deleted.
pub(in crate::store) async fn are_due<'c>(
    connection: impl sqlx::Executor<'c, Database = Postgres>,
    cutoff: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query_scalar(ARE_DUE).bind(cutoff).bind(SUPERSEDED).bind(REMOVED);
    query.fetch_one(connection).await
}

/// Deletes what ended before `cutoff`; returns how many certificates.
pub(in crate::store) async fn purge(
    pool: &PgPool,
    cutoff: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let is_cell: bool = sqlx::query_scalar(IS_CELL).fetch_one(pool).await?;
    let mut certificates = 0;
    if !is_cell {
        for _ in 0..STEPS {
            let query =
                sqlx::query_scalar(CERTIFICATES).bind(cutoff).bind(SUPERSEDED).bind(REMOVED);
            let rows: i64 = query.bind(ROWS_AT_ONCE).fetch_one(pool).await?;
            // The successors of these rows are due only now.
            if rows == 0 {
                break;
            }
            certificates += rows.unsigned_abs();
        }
        in_steps(pool, REVOCATIONS, cutoff).await?;
    }
    in_steps(pool, STEPS_OF_REVOCATIONS, cutoff).await?;
    Ok(certificates)
}

// --- private helpers ---

async fn in_steps(
    pool: &PgPool,
    statement: &'static str,
    cutoff: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    for _ in 0..STEPS {
        let query = sqlx::query_scalar(statement).bind(cutoff).bind(ROWS_AT_ONCE);
        let rows: i64 = query.fetch_one(pool).await?;
        if rows < ROWS_AT_ONCE {
            break;
        }
    }
    Ok(())
}
