//! The fleet in numbers, for the overview: devices by state, certificates by end, reasons of the
//! last hour, the revocation that was ordered last, the replicas, and the replays that run.
//!
//! Each query reads counters or a bounded range, or counts 100,000 devices in about 100 ms; the
//! caller keeps the answer for some seconds.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::domain::ids::TenantId;
use crate::domain::ports::Outage;
use crate::store::access::replica_sessions::seen;
use crate::store::error::StoreError;

/// The most reasons that are shown.
const REASONS_MAX: i64 = 8;

/// The most replicas that are shown.
const REPLICAS_MAX: i64 = 32;

/// A reason without a refusal for so long begins again.
const PAUSE: TimeDelta = TimeDelta::minutes(15);

/// How far back the beginning of a reason is looked for.
const LOOK_BACK: TimeDelta = TimeDelta::hours(24);

/// The time limit of each query: people wait for it.
const PATIENCE: &str = "SET LOCAL statement_timeout = '2s'";

const DEVICES: &str = "SELECT count(*) FILTER (WHERE d.status = 'ACTIVE') AS active, \
        count(*) FILTER (WHERE d.status = 'INACTIVE') AS inactive, \
        count(*) FILTER (WHERE d.status = 'REVOKED') AS revoked, \
        count(*) FILTER (WHERE d.status = 'ACTIVE' AND s.last_seen_at < $2 - interval '1 hour') AS silent, \
        count(*) FILTER (WHERE d.status = 'ACTIVE' AND s.last_seen_at < $2 - interval '1 hour' \
            AND s.last_seen_at >= $2 - interval '2 hours') AS newly_silent, \
        count(*) FILTER (WHERE d.status = 'ACTIVE' AND s.last_seen_at IS NULL) AS never \
    FROM devices d LEFT JOIN device_state s USING (tenant_id, device_id) \
    WHERE $1::text IS NULL OR d.tenant_id = $1";

const CERTIFICATES: &str = "SELECT count(*) FILTER (WHERE c.not_after < $2 + interval '30 days') AS ending, \
        count(*) FILTER (WHERE c.not_after < $2 + interval '30 days' AND c.retire_at IS NULL AND NOT EXISTS \
            (SELECT FROM device_certificates n WHERE n.replaces = c.id AND n.status = 'ACTIVE')) AS unreplaced, \
        min(c.not_after) AS next_end \
    FROM device_certificates c \
    WHERE c.status = 'ACTIVE' AND c.not_after >= $2 AND c.not_after < $2 + interval '13 weeks' \
        AND ($1::text IS NULL OR c.tenant_id = $1)";

const WEEKS: &str = "SELECT (width_bucket(not_after, $3) - 1)::bigint AS week, count(*) AS number \
    FROM device_certificates \
    WHERE status = 'ACTIVE' AND not_after >= $2 AND not_after < $2 + interval '13 weeks' \
        AND ($1::text IS NULL OR tenant_id = $1) GROUP BY 1 ORDER BY 1";

const REASONS: &str = "SELECT reason, sum(cnt)::bigint AS messages, min(bucket_minute) AS first_at, \
        (array_agg(tenant_id ORDER BY cnt DESC))[1] AS top_tenant FROM \
        (SELECT reason, tenant_id, sum(cnt) AS cnt, min(bucket_minute) AS bucket_minute FROM quarantine_counters_minute \
            WHERE bucket_minute >= $2 AND ($1::text IS NULL OR tenant_id = $1) GROUP BY 1, 2) AS of_tenant \
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $3";

/// The minutes of these reasons after which it was quiet for a while.
const BEGINNINGS: &str = "SELECT reason, max(bucket_minute) AS began_at FROM (SELECT reason, bucket_minute, \
        lag(bucket_minute, 1, $2 - $4) OVER (PARTITION BY reason ORDER BY bucket_minute) AS before FROM \
        (SELECT DISTINCT reason, bucket_minute FROM quarantine_counters_minute WHERE bucket_minute >= $2 \
            AND reason = ANY($3) AND ($1::text IS NULL OR tenant_id = $1)) AS minutes) AS runs \
    WHERE bucket_minute - before > $4 GROUP BY 1";

const LAST_REVOCATION: &str = "SELECT r.certificate_id, c.tenant_id, c.device_id FROM certificate_revocations r \
    JOIN device_certificates c ON c.id = r.certificate_id WHERE $1::text IS NULL OR c.tenant_id = $1 \
    ORDER BY r.noticed_at DESC LIMIT 1";

/// A row stays until an operator deletes it: those of daemons that are long gone are left out.
/// An orphaned session stays, however old.
const REPLICAS: &str = concat!(
    "SELECT client_id, coalesce(subscribed_at, seen_at) AS subscribed_at, \
        coalesce(seen_at, subscribed_at) AS seen_at, filters, ",
    seen!(),
    " > now() - $2 AS is_running FROM broker_sessions \
    WHERE coalesce(seen_at, subscribed_at) IS NOT NULL AND ( \
        (subscribed_at IS NOT NULL AND coalesce(seen_at, subscribed_at) > now() - interval '1 day') \
        OR EXISTS (SELECT FROM unnest(filters) AS filter WHERE filter LIKE '$share/%')) \
    ORDER BY client_id LIMIT $1"
);

const REPLAYS: &str = "SELECT count(*) FROM quarantine_replays WHERE status = 'RUNNING' \
    AND ($1::text IS NULL OR tenant_id = $1)";

/// Devices by state. Those that are silent or were never received are ACTIVE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct DeviceCounts {
    pub active: i64,
    pub inactive: i64,
    pub revoked: i64,
    /// Not received for an hour.
    pub silent: i64,
    /// Silent for more than one and less than two hours.
    pub newly_silent: i64,
    /// Never received.
    pub never: i64,
}

/// Active certificates by their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct CertificateCounts {
    /// That end within 30 days.
    pub ending: i64,
    /// Of these, without a successor.
    pub unreplaced: i64,
    /// The first end within 13 weeks.
    pub next_end: Option<DateTime<Utc>>,
}

/// Certificates that end in one week from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WeekCount {
    /// 0: within 7 days.
    pub week: i64,
    pub number: i64,
}

/// A reason of the last hour.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ReasonCount {
    pub reason: String,
    pub messages: i64,
    /// The first minute of the hour with this reason.
    first_at: DateTime<Utc>,
    /// The tenant with most of them; empty: none could be read.
    pub top_tenant: String,
    /// When it began: the first minute after a quiet quarter of an hour; `None`: more than a day ago.
    #[sqlx(skip)]
    pub began_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct Beginning {
    reason: String,
    began_at: DateTime<Utc>,
}

/// The revocation that was ordered last.
#[expect(clippy::struct_field_names, reason = "the names of the columns")]
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct LastRevocation {
    pub certificate_id: Uuid,
    pub tenant_id: String,
    pub device_id: String,
}

/// A daemon that has a session at a broker.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ReplicaRow {
    pub client_id: String,
    pub subscribed_at: DateTime<Utc>,
    /// When it last said that it runs.
    pub seen_at: DateTime<Utc>,
    /// Whether it said so lately.
    pub is_running: bool,
    /// All filters that the broker may have.
    pub filters: Vec<String>,
}

/// All numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetNumbers {
    pub devices: DeviceCounts,
    pub certificates: CertificateCounts,
    pub weeks: Vec<WeekCount>,
    pub reasons: Vec<ReasonCount>,
    pub last_revocation: Option<LastRevocation>,
    pub replicas: Vec<ReplicaRow>,
    /// Replay jobs that run.
    pub replays: i64,
}

/// The numbers of a tenant, or of all.
pub async fn numbers(
    pool: &PgPool,
    tenant: Option<&TenantId>,
    now: DateTime<Utc>,
    orphan_after: Duration,
) -> Result<FleetNumbers, Outage> {
    read(pool, tenant.map(TenantId::as_str), now, orphan_after)
        .await
        .map_err(|error| StoreError::from(error).into())
}

// === private helpers ===

async fn read(
    pool: &PgPool,
    tenant: Option<&str>,
    now: DateTime<Utc>,
    orphan_after: Duration,
) -> Result<FleetNumbers, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query(PATIENCE).execute(&mut *transaction).await?;
    let devices =
        sqlx::query_as(DEVICES).bind(tenant).bind(now).fetch_one(&mut *transaction).await?;
    let certificates =
        sqlx::query_as(CERTIFICATES).bind(tenant).bind(now).fetch_one(&mut *transaction).await?;
    let weeks: Vec<_> = (0..13).map(|week| now + TimeDelta::weeks(week)).collect();
    let weeks = sqlx::query_as(WEEKS).bind(tenant).bind(now).bind(weeks);
    let weeks = weeks.fetch_all(&mut *transaction).await?;
    let reasons = reasons(&mut transaction, tenant, now).await?;
    let last_revocation =
        sqlx::query_as(LAST_REVOCATION).bind(tenant).fetch_optional(&mut *transaction).await?;
    let query = sqlx::query_as(REPLICAS).bind(REPLICAS_MAX).bind(orphan_after);
    let replicas = query.fetch_all(&mut *transaction).await?;
    let replays = sqlx::query_scalar(REPLAYS).bind(tenant).fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(FleetNumbers { devices, certificates, weeks, reasons, last_revocation, replicas, replays })
}

async fn reasons(
    connection: &mut PgConnection,
    tenant: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<ReasonCount>, sqlx::Error> {
    let hour_ago = now - TimeDelta::hours(1);
    let mut counts: Vec<ReasonCount> = sqlx::query_as(REASONS)
        .bind(tenant)
        .bind(hour_ago)
        .bind(REASONS_MAX)
        .fetch_all(&mut *connection)
        .await?;
    // Most begin within the hour; only for the others a day is read.
    let all: Vec<String> = counts.iter().map(|count| count.reason.clone()).collect();
    let recent = beginnings(connection, tenant, hour_ago, &all).await?;
    let early = |count: &ReasonCount| count.first_at < hour_ago + PAUSE;
    let older: Vec<String> =
        counts.iter().filter(|count| early(count)).map(|count| count.reason.clone()).collect();
    let past = if older.is_empty() {
        Vec::new()
    } else {
        beginnings(connection, tenant, now - LOOK_BACK, &older).await?
    };
    for count in &mut counts {
        let found = if early(count) { &past } else { &recent };
        let beginning = found.iter().find(|beginning| beginning.reason == count.reason);
        count.began_at = beginning
            .map(|beginning| beginning.began_at)
            .filter(|at| *at >= now - LOOK_BACK + PAUSE);
    }
    Ok(counts)
}

async fn beginnings(
    connection: &mut PgConnection,
    tenant: Option<&str>,
    since: DateTime<Utc>,
    reasons: &[String],
) -> Result<Vec<Beginning>, sqlx::Error> {
    sqlx::query_as(BEGINNINGS)
        .bind(tenant)
        .bind(since)
        .bind(reasons)
        .bind(PAUSE)
        .fetch_all(&mut *connection)
        .await
}
