//! Documents that the broker retains for devices: which of them it does not have, and what it has
//! accepted.
//!
//! Only the latest revision counts: an acceptance of an older one leaves the row as it is. The row of
//! a withdrawn document stays for a while, see
//! [`forget_withdrawn`](super::outbox::OutboxSession::forget_withdrawn).

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

const ACCEPTED: &str = "UPDATE device_pushes p SET dirty_since = NULL, published_at = now() \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS g (tenant_id, device_id, kind, revision) \
    WHERE p.tenant_id = g.tenant_id AND p.device_id = g.device_id AND p.kind = g.kind AND p.revision = g.revision";

/// Marks rows whose last publication the broker may have lost: those accepted in the interval. With
/// `$1` null the broker has nothing, and what was withdrawn needs no publication.
const MARK: &str = "UPDATE device_pushes SET dirty_since = now() WHERE ctid = ANY (ARRAY ( \
        SELECT ctid FROM device_pushes WHERE dirty_since IS NULL AND (payload IS NOT NULL OR $1 IS NOT NULL) \
            AND published_at > coalesce($1, '-infinity'::timestamptz) AND published_at <= $2 LIMIT $3)) \
    AND dirty_since IS NULL";

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

    /// Records that the broker has these revisions.
    pub async fn record_accepted(&mut self, pushes: &[&DirtyPush]) -> Result<(), Outage> {
        if pushes.is_empty() {
            return Ok(());
        }
        let names = |of: fn(&DirtyPush) -> &str| -> Vec<&str> {
            pushes.iter().map(|push| of(push)).collect()
        };
        let query = sqlx::query(ACCEPTED)
            .bind(names(|push| &push.tenant_id))
            .bind(names(|push| &push.device_id))
            .bind(names(|push| &push.kind))
            .bind(pushes.iter().map(|push| push.revision).collect::<Vec<i64>>());
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Marks the documents that the broker accepted after `after` and until `until`; `after` is
    /// `None` if it has none. Returns their number.
    pub async fn mark_lost(
        &mut self,
        after: Option<DateTime<Utc>>,
        until: DateTime<Utc>,
    ) -> Result<u64, Outage> {
        let mut marked = 0;
        loop {
            let query = sqlx::query(MARK).bind(after).bind(until).bind(MARK_MAX);
            let rows = answer(query.execute(&mut self.session.connection)).await?.rows_affected();
            marked += rows;
            if rows < MARK_MAX.unsigned_abs() {
                return Ok(marked);
            }
        }
    }

    /// Counts what the broker does not have.
    pub async fn push_backlog(&mut self) -> Result<PushBacklog, Outage> {
        let query = sqlx::query_as(BACKLOG);
        let (dirty, oldest, now) = answer(query.fetch_one(&mut self.session.connection)).await?;
        Ok(PushBacklog { dirty, oldest, now })
    }
}
