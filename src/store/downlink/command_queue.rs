//! Commands to publish, in the order of each device, and what became of them.
//!
//! Rows are chosen by their status, never by a number that a late commit would fall behind. Of each
//! device only the first open commands count: those of them that are pending may be published, as
//! far as the window allows. A device that is not active, and one of a suspended tenant, gets none.
//! Rows of plain SQL may have any time; one without a sensible `created_at` expires.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::outbox::{CommandLimits, OutboxSession};
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

/// Rows of the queue that one look covers.
const SLICE: i64 = 2_000;

/// The newest rows are part of each look, so that a new command does not wait behind a long queue of
/// devices whose window is full.
const NEWEST: i64 = 500;

/// Published commands that one look for unanswered ones covers.
const PUBLISHED_SLICE: i64 = 10_000;

/// Most commands of one look.
const DUE_MAX: i64 = 500;

/// Most commands that expire in one statement.
const EXPIRE_MAX: i64 = 5_000;

const SLICE_END: &str = "SELECT max(created_at), (array_agg(position ORDER BY created_at DESC, position DESC))[1], count(*) FROM ( \
        SELECT created_at, position FROM device_commands WHERE status = 'PENDING' \
            AND (created_at, position) > (coalesce($1, '-infinity'::timestamptz), $2) AND created_at < now() + interval '100 years' \
        ORDER BY created_at, position LIMIT $3) AS slice";

/// The fields of a command, and its end: its own, or a time after its creation.
macro_rules! command_fields {
    () => {
        "c.tenant_id, c.device_id, c.command_id, c.command_type, c.params::text AS params, c.attempts, c.created_at, \
            c.position, c.status, least(coalesce(c.expires_at, c.created_at + $1::float8 * interval '1 second'), \
                c.created_at + interval '30 days') AS valid_until"
    };
}

/// The first open rows of a device are read once more than the window is wide, because a command
/// with an earlier `created_at` may commit after later ones were published.
const DUE: &str = concat!(
    "WITH queued AS ( \
        (SELECT tenant_id, device_id FROM device_commands WHERE status = 'PENDING' \
            AND (created_at, position) > (coalesce($3, '-infinity'::timestamptz), $4) AND (created_at, position) <= ($5, $6)) \
        UNION ALL \
        (SELECT tenant_id, device_id FROM device_commands WHERE status = 'PENDING' \
            ORDER BY created_at DESC, position DESC LIMIT $7)) \
    SELECT p.tenant_id, p.device_id, p.command_id, p.command_type, p.params, p.attempts, p.created_at, p.valid_until, now() AS read_at \
    FROM (SELECT DISTINCT tenant_id, device_id FROM queued) q \
    JOIN devices d USING (tenant_id, device_id) JOIN tenants t USING (tenant_id) \
    CROSS JOIN LATERAL ( \
        SELECT w.*, row_number() OVER (ORDER BY w.created_at, w.position) AS place FROM ( \
            SELECT o.*, count(*) FILTER (WHERE o.status <> 'PENDING') OVER () AS published FROM ( \
                SELECT * FROM (SELECT ",
    command_fields!(),
    " FROM device_commands c \
                    WHERE c.tenant_id = q.tenant_id AND c.device_id = q.device_id \
                        AND c.status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS') \
                        AND c.created_at BETWEEN '1900-01-01' AND now() + interval '100 years') f \
                WHERE f.valid_until > now() ORDER BY f.created_at, f.position LIMIT 2 * $2) o) w \
        WHERE w.status = 'PENDING') p \
    WHERE d.status = 'ACTIVE' AND t.status = 'ACTIVE' AND p.place <= $2 - p.published \
        AND NOT EXISTS (SELECT FROM unnest($8::text[], $9::text[]) AS s (tenant_id, device_id) \
            WHERE s.tenant_id = p.tenant_id AND s.device_id = p.device_id) \
    ORDER BY p.created_at, p.position LIMIT $10"
);

const PUBLISHED_SLICE_END: &str = "SELECT max(sent_at), (array_agg(position ORDER BY sent_at DESC, position DESC))[1], count(*) FROM ( \
        SELECT coalesce(published_at, created_at) AS sent_at, position FROM device_commands WHERE status = 'PUBLISHED' \
            AND (coalesce(published_at, created_at), position) > (coalesce($1, '-infinity'::timestamptz), $2) \
            AND coalesce(published_at, created_at) < now() - $4::float8 * interval '1 second' \
        ORDER BY coalesce(published_at, created_at), position LIMIT $3) AS slice";

/// Commands to publish again: without an acknowledgement, and the device was seen since.
const UNANSWERED: &str = concat!(
    "SELECT f.tenant_id, f.device_id, f.command_id, f.command_type, f.params, f.attempts, f.created_at, f.valid_until, now() AS read_at \
    FROM (SELECT coalesce(c.published_at, c.created_at) AS sent_at, ",
    command_fields!(),
    " FROM device_commands c WHERE c.status = 'PUBLISHED' AND c.attempts < $3 \
            AND (coalesce(c.published_at, c.created_at), c.position) > (coalesce($7, '-infinity'::timestamptz), $8) \
            AND (coalesce(c.published_at, c.created_at), c.position) <= ($9, $10) \
            AND c.created_at BETWEEN '1900-01-01' AND now() + interval '100 years') f \
    JOIN devices d USING (tenant_id, device_id) JOIN tenants t USING (tenant_id) JOIN device_state s USING (tenant_id, device_id) \
    WHERE f.sent_at < now() - $2::float8 * interval '1 second' AND s.last_seen_at > f.sent_at AND f.valid_until > now() \
        AND d.status = 'ACTIVE' AND t.status = 'ACTIVE' \
        AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS r (tenant_id, device_id) \
            WHERE r.tenant_id = f.tenant_id AND r.device_id = f.device_id) \
    ORDER BY f.created_at, f.position LIMIT $6"
);

/// Locks in the order of the key, as acknowledgements do. A command that was acknowledged, expired or
/// cancelled meanwhile keeps its status. A row that another transaction has locked is left out:
/// waiting for it would hold the others, and acknowledgements wait for those.
const PUBLISHED: &str = "WITH locked AS MATERIALIZED ( \
        SELECT c.tenant_id, c.device_id, c.command_id FROM device_commands c \
        JOIN unnest($1::text[], $2::text[], $3::uuid[]) AS g (tenant_id, device_id, command_id) \
            USING (tenant_id, device_id, command_id) \
        ORDER BY c.tenant_id, c.device_id, c.command_id FOR UPDATE OF c SKIP LOCKED) \
    UPDATE device_commands c SET published_at = $4, attempts = c.attempts + 1, \
        status = CASE c.status WHEN 'PENDING' THEN 'PUBLISHED' ELSE c.status END \
    FROM locked l WHERE c.tenant_id = l.tenant_id AND c.device_id = l.device_id AND c.command_id = l.command_id \
    RETURNING c.tenant_id, c.device_id, c.command_id";

const FAILED: &str = "UPDATE device_commands SET status = 'FAILED', finished_at = now(), \
    ack_details = jsonb_build_object('status', 'failed', 'by', 'sluice', 'details', jsonb_build_object('error', $4::text)) \
    WHERE ctid = (SELECT ctid FROM device_commands WHERE tenant_id = $1 AND device_id = $2 AND command_id = $3 \
        AND status = 'PENDING' FOR UPDATE SKIP LOCKED)";

const EXPIRED: &str = "UPDATE device_commands SET status = 'EXPIRED', finished_at = now() WHERE ctid = ANY (ARRAY ( \
        SELECT ctid FROM device_commands WHERE status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS') AND ( \
            least(expires_at, created_at + interval '30 days') <= now() \
            OR (expires_at IS NULL AND created_at + $1::float8 * interval '1 second' <= now()) \
            OR created_at NOT BETWEEN '1900-01-01' AND now() + interval '100 years') \
        LIMIT $2 FOR UPDATE SKIP LOCKED)) AND status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS')";

/// A command to publish.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct DueCommand {
    /// Its tenant.
    pub tenant_id: String,
    /// Its device.
    pub device_id: String,
    /// The command.
    pub command_id: Uuid,
    /// What it is.
    pub command_type: String,
    /// Its parameters, as JSON.
    pub params: String,
    /// How often it was published.
    pub attempts: i32,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    /// When it expires.
    pub valid_until: DateTime<Utc>,
    /// Postgres' clock when this was read.
    pub read_at: DateTime<Utc>,
}

/// How far the queue was looked through. The next look begins there; after the end it begins again
/// at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePlace {
    created_at: Option<DateTime<Utc>>,
    position: i64,
}

/// Devices that are left out: the broker refused their messages a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedDevices {
    /// Their tenants.
    pub tenants: Vec<String>,
    /// Their names, in the same order.
    pub devices: Vec<String>,
}

// === impl QueuePlace ===

impl QueuePlace {
    /// Whether it is the start.
    pub fn is_start(self) -> bool {
        self == Self::default()
    }

    /// Goes on to `end` unless a look was cut off; after the last slice, to the start.
    fn advance(&mut self, due: &[DueCommand], is_last: bool, end: (DateTime<Utc>, i64)) {
        if (due.len() as u64) < DUE_MAX.unsigned_abs() {
            let end = Self { created_at: Some(end.0), position: end.1 };
            *self = if is_last { Self::default() } else { end };
        }
    }
}

// === impl OutboxSession ===

impl OutboxSession {
    /// Commands that may be published, at most [`DUE_MAX`], in order; `place` advances.
    pub async fn due_commands(
        &mut self,
        limits: &CommandLimits,
        skipped: &SkippedDevices,
        place: &mut QueuePlace,
    ) -> Result<Vec<DueCommand>, Outage> {
        let from = *place;
        let query = sqlx::query_as(SLICE_END).bind(from.created_at).bind(from.position).bind(SLICE);
        let (end_at, end_position, rows): (Option<DateTime<Utc>>, Option<i64>, i64) =
            answer(query.fetch_one(&mut self.session.connection)).await?;
        let (Some(end_at), Some(end_position)) = (end_at, end_position) else {
            *place = QueuePlace::default();
            return Ok(Vec::new());
        };
        let query = sqlx::query_as(DUE)
            .bind(limits.ttl.as_secs_f64())
            .bind(i64::from(limits.window))
            .bind(from.created_at)
            .bind(from.position)
            .bind(end_at)
            .bind(end_position)
            .bind(NEWEST)
            .bind(&skipped.tenants)
            .bind(&skipped.devices)
            .bind(DUE_MAX);
        let due: Vec<DueCommand> = answer(query.fetch_all(&mut self.session.connection)).await?;
        place.advance(&due, rows < SLICE, (end_at, end_position));
        Ok(due)
    }

    /// Commands to publish again, in order; `place` advances.
    pub async fn unanswered_commands(
        &mut self,
        limits: &CommandLimits,
        skipped: &SkippedDevices,
        place: &mut QueuePlace,
    ) -> Result<Vec<DueCommand>, Outage> {
        let from = *place;
        let query = sqlx::query_as(PUBLISHED_SLICE_END)
            .bind(from.created_at)
            .bind(from.position)
            .bind(PUBLISHED_SLICE)
            .bind(limits.resend.as_secs_f64());
        let (end_at, end_position, rows): (Option<DateTime<Utc>>, Option<i64>, i64) =
            answer(query.fetch_one(&mut self.session.connection)).await?;
        let (Some(end_at), Some(end_position)) = (end_at, end_position) else {
            *place = QueuePlace::default();
            return Ok(Vec::new());
        };
        let query = sqlx::query_as(UNANSWERED)
            .bind(limits.ttl.as_secs_f64())
            .bind(limits.resend.as_secs_f64())
            .bind(i32::try_from(limits.attempts).unwrap_or(i32::MAX))
            .bind(&skipped.tenants)
            .bind(&skipped.devices)
            .bind(DUE_MAX)
            .bind(from.created_at)
            .bind(from.position)
            .bind(end_at)
            .bind(end_position);
        let due: Vec<DueCommand> = answer(query.fetch_all(&mut self.session.connection)).await?;
        place.advance(&due, rows < PUBLISHED_SLICE, (end_at, end_position));
        Ok(due)
    }

    /// Records that the broker has these commands. Returns those it could not record, because
    /// another transaction has locked them.
    pub async fn record_published<'a>(
        &mut self,
        commands: &[&'a DueCommand],
    ) -> Result<Vec<&'a DueCommand>, Outage> {
        let Some(first) = commands.first() else { return Ok(Vec::new()) };
        let names = |of: fn(&DueCommand) -> &str| -> Vec<&str> {
            commands.iter().map(|command| of(command)).collect()
        };
        let query = sqlx::query_as(PUBLISHED)
            .bind(names(|command| &command.tenant_id))
            .bind(names(|command| &command.device_id))
            .bind(commands.iter().map(|command| command.command_id).collect::<Vec<Uuid>>())
            .bind(first.read_at);
        let recorded: HashSet<(String, String, Uuid)> =
            answer(query.fetch_all(&mut self.session.connection)).await?.into_iter().collect();
        let is_left = |command: &&&DueCommand| {
            let DueCommand { tenant_id, device_id, command_id, .. } = command;
            !recorded.contains(&(tenant_id.clone(), device_id.clone(), *command_id))
        };
        Ok(commands.iter().filter(is_left).copied().collect())
    }

    /// Records that a command can never be published, and why. Returns whether it was PENDING and
    /// not locked by another transaction.
    pub async fn record_failed(&mut self, command: &DueCommand, why: &str) -> Result<bool, Outage> {
        let query = sqlx::query(FAILED)
            .bind(&command.tenant_id)
            .bind(&command.device_id)
            .bind(command.command_id)
            .bind(why);
        let failed = answer(query.execute(&mut self.session.connection)).await?.rows_affected();
        Ok(failed > 0)
    }

    /// Ends commands whose time is over, at most [`EXPIRE_MAX`]; returns whether more may be left.
    pub async fn expire_commands(&mut self, limits: &CommandLimits) -> Result<bool, Outage> {
        let query = sqlx::query(EXPIRED).bind(limits.ttl.as_secs_f64()).bind(EXPIRE_MAX);
        let expired = answer(query.execute(&mut self.session.connection)).await?.rows_affected();
        Ok(expired >= EXPIRE_MAX.unsigned_abs())
    }
}
