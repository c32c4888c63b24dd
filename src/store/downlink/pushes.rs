//! Documents that the broker retains for devices: which of them it does not have, and what it has
//! accepted.
//!
//! Only the latest revision counts: an acceptance of an older one leaves the row as it is. The row of
//! a withdrawn document stays for a while, see
//! [`forget_withdrawn`](super::outbox::OutboxSession::forget_withdrawn).

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::outbox::OutboxSession;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

/// Most documents of one look: small, so that a command does not wait behind many documents.
pub(crate) const PUSHES_MAX: i64 = 100;

/// Rows marked by one statement.
const MARK_MAX: i64 = 10_000;

const DIRTY: &str = "SELECT p.tenant_id, p.device_id, p.kind, p.revision, p.payload::text AS payload, p.dirty_since, \
        CASE WHEN isfinite(p.expires_at) THEN \
            least(extract(epoch FROM p.expires_at - now()), 4294967295)::bigint END AS seconds_left, now() AS read_at \
    FROM device_pushes p WHERE p.dirty_since IS NOT NULL \
        AND NOT EXISTS (SELECT FROM unnest($1::text[], $2::text[], $3::text[]) AS s (tenant_id, device_id, kind) \
            WHERE s.tenant_id = p.tenant_id AND s.device_id = p.device_id AND s.kind = p.kind) \
    ORDER BY p.dirty_since LIMIT $4";

/// A row that another transaction has locked is left out: waiting for it would hold the others.
/// Returns the rows that were looked at, whatever their revision.
const ACCEPTED: &str = "WITH locked AS MATERIALIZED ( \
        SELECT p.tenant_id, p.device_id, p.kind, p.revision = g.revision AS is_current FROM device_pushes p \
        JOIN unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS g (tenant_id, device_id, kind, revision) \
            USING (tenant_id, device_id, kind) \
        ORDER BY p.tenant_id, p.device_id, p.kind FOR UPDATE OF p SKIP LOCKED), \
    settled AS ( \
        UPDATE device_pushes p SET dirty_since = NULL, published_at = now() FROM locked l \
        WHERE l.is_current AND p.tenant_id = l.tenant_id AND p.device_id = l.device_id AND p.kind = l.kind) \
    SELECT tenant_id, device_id, kind FROM locked";

/// Marks rows whose last publication the broker may have lost: those accepted in the interval. With
/// `$1` null the broker has nothing, and what was withdrawn needs no publication.
const MARK: &str = "UPDATE device_pushes SET dirty_since = now() WHERE ctid = ANY (ARRAY ( \
        SELECT ctid FROM device_pushes WHERE dirty_since IS NULL AND (payload IS NOT NULL OR $1 IS NOT NULL) \
            AND published_at > coalesce($1, '-infinity'::timestamptz) AND published_at <= $2 \
        LIMIT $3 FOR UPDATE SKIP LOCKED)) AND dirty_since IS NULL";

/// Whether rows to mark are left, which another transaction had locked.
const UNMARKED: &str = "SELECT EXISTS (SELECT FROM device_pushes WHERE dirty_since IS NULL AND (payload IS NOT NULL OR $1 IS NOT NULL) \
    AND published_at > coalesce($1, '-infinity'::timestamptz) AND published_at <= $2)";

const BACKLOG: &str =
    "SELECT count(*), min(dirty_since), now() FROM device_pushes WHERE dirty_since IS NOT NULL";

/// A document that the broker does not have.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct DirtyPush {
    /// Its tenant.
    pub tenant_id: String,
    /// Its device.
    pub device_id: String,
    /// Which document.
    pub kind: String,
    /// The revision that was read.
    pub revision: i64,
    /// The document; `None`: it is withdrawn.
    pub payload: Option<String>,
    /// Since when the broker does not have it.
    pub dirty_since: DateTime<Utc>,
    /// How long it is valid; `None`: without end.
    pub seconds_left: Option<i64>,
    /// Postgres' clock when this was read.
    pub read_at: DateTime<Utc>,
}

/// Documents that are left out: the broker refused them a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedPushes {
    /// Their tenants.
    pub tenants: Vec<String>,
    /// Their devices, in the same order.
    pub devices: Vec<String>,
    /// Their kinds, in the same order.
    pub kinds: Vec<String>,
}

/// What the broker does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushBacklog {
    /// Number of documents.
    pub dirty: i64,
    /// Since when the oldest waits.
    pub oldest: Option<DateTime<Utc>>,
    /// Postgres' clock.
    pub now: DateTime<Utc>,
}

// === impl OutboxSession ===

impl OutboxSession {
    /// Documents to publish, those that wait longest first.
    pub async fn dirty_pushes(
        &mut self,
        skipped: &SkippedPushes,
    ) -> Result<Vec<DirtyPush>, Outage> {
        let query = sqlx::query_as(DIRTY)
            .bind(&skipped.tenants)
            .bind(&skipped.devices)
            .bind(&skipped.kinds)
            .bind(PUSHES_MAX);
        Ok(answer(query.fetch_all(&mut self.session.connection)).await?)
    }

    /// Records that the broker has these revisions. Returns those it could not record, because
    /// another transaction has locked them.
    pub async fn record_accepted<'a>(
        &mut self,
        pushes: &[&'a DirtyPush],
    ) -> Result<Vec<&'a DirtyPush>, Outage> {
        if pushes.is_empty() {
            return Ok(Vec::new());
        }
        let names = |of: fn(&DirtyPush) -> &str| -> Vec<&str> {
            pushes.iter().map(|push| of(push)).collect()
        };
        let query = sqlx::query_as(ACCEPTED)
            .bind(names(|push| &push.tenant_id))
            .bind(names(|push| &push.device_id))
            .bind(names(|push| &push.kind))
            .bind(pushes.iter().map(|push| push.revision).collect::<Vec<i64>>());
        let settled: HashSet<(String, String, String)> =
            answer(query.fetch_all(&mut self.session.connection)).await?.into_iter().collect();
        let is_left = |push: &&&DirtyPush| {
            let DirtyPush { tenant_id, device_id, kind, .. } = push;
            !settled.contains(&(tenant_id.clone(), device_id.clone(), kind.clone()))
        };
        Ok(pushes.iter().filter(is_left).copied().collect())
    }

    /// Marks the documents that the broker accepted after `after` and until `until`; `after` is
    /// `None` if it has none. Returns their number, and whether none is left: a row that another
    /// transaction has locked is.
    pub async fn mark_lost(
        &mut self,
        after: Option<DateTime<Utc>>,
        until: DateTime<Utc>,
    ) -> Result<(u64, bool), Outage> {
        let mut marked = 0;
        loop {
            let query = sqlx::query(MARK).bind(after).bind(until).bind(MARK_MAX);
            let rows = answer(query.execute(&mut self.session.connection)).await?.rows_affected();
            marked += rows;
            if rows < MARK_MAX.unsigned_abs() {
                break;
            }
        }
        let query = sqlx::query_scalar(UNMARKED).bind(after).bind(until);
        let is_left: bool = answer(query.fetch_one(&mut self.session.connection)).await?;
        Ok((marked, !is_left))
    }

    /// Counts what the broker does not have.
    pub async fn push_backlog(&mut self) -> Result<PushBacklog, Outage> {
        let query = sqlx::query_as(BACKLOG);
        let (dirty, oldest, now) = answer(query.fetch_one(&mut self.session.connection)).await?;
        Ok(PushBacklog { dirty, oldest, now })
    }
}
