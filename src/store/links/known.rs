//! The links that the daemon knows, what their lanes report, and their identities at other places.
//!
//! It sends nothing. A link that the links file no longer has keeps its rows until [`forget`].

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// What a lane reports.
#[derive(Clone, Debug)]
pub struct LaneReport {
    /// The link.
    pub link: LinkName,
    /// The lane.
    pub lane: i16,
    /// The client id of the replica.
    pub replica: String,
    /// Its state.
    pub state: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// What happened last.
    pub detail: Option<String>,
    /// What to do.
    pub advice: Option<String>,
    /// Messages that the other broker has acknowledged since the start of the replica.
    pub published: u64,
    /// Messages without an acknowledgement.
    pub in_flight: u32,
    /// Messages a second that the other broker has acknowledged since this time; `None`: not known yet.
    pub rate: Option<(f64, Timestamp)>,
}

/// A report as it is stored.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LaneStatus {
    /// The link.
    pub link: String,
    /// The lane.
    pub lane: i16,
    /// The client id of the replica.
    pub replica: String,
    /// Its state.
    pub state: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What happened last.
    pub detail: Option<String>,
    /// What to do.
    pub advice: Option<String>,
    /// Messages that the other broker has acknowledged since the start of the replica.
    pub published: i64,
    /// Messages without an acknowledgement.
    pub in_flight: i32,
    /// Messages a second that the other broker has acknowledged.
    pub sent_per_second: Option<f64>,
    /// Since when.
    pub sent_since: Option<DateTime<Utc>>,
    /// When the lane reported.
    pub reported_at: DateTime<Utc>,
    /// Whether the report is less than a minute old.
    pub is_current: bool,
}

/// What waits for a link, and its dead letters.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct LinkTotals {
    /// The link.
    pub link: String,
    /// Messages in the outbox.
    pub messages: i64,
    /// Their bytes.
    pub bytes: i64,
    /// When Sluice received the oldest of them.
    pub oldest: Option<DateTime<Utc>>,
    /// From when on messages are in `telemetry` only; `None`: there is no gap.
    pub gap_since: Option<DateTime<Utc>>,
    /// Number of these messages.
    pub gap_messages: i64,
    /// Messages of earlier gaps that could not be read back.
    pub lost: i64,
    /// Dead letters.
    pub refused: i64,
}

/// A name, so that all commands find the links; the rows of `link_outbox` need none.
const REGISTER: &str =
    "INSERT INTO link_state (link) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING";

const REPORT: &str = "INSERT INTO link_status AS s \
        (link, lane, replica, state, since, detail, advice, published, in_flight, sent_per_second, sent_since) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (link, lane) DO UPDATE SET \
        replica = excluded.replica, state = excluded.state, since = excluded.since, detail = excluded.detail, \
        advice = excluded.advice, published = excluded.published, in_flight = excluded.in_flight, \
        sent_per_second = excluded.sent_per_second, sent_since = excluded.sent_since, reported_at = now()";

const STATUS: &str = "SELECT *, reported_at > now() - interval '1 minute' AS is_current \
    FROM link_status ORDER BY link, lane";

/// Every link that is registered or has rows.
const TOTALS: &str = "SELECT l.link, coalesce(c.messages, 0)::bigint AS messages, \
        coalesce(c.bytes, 0)::bigint AS bytes, \
        (SELECT min(h.received_at) FROM generate_series(0, s.lanes - 1) AS lanes (lane), LATERAL ( \
            SELECT received_at FROM link_outbox WHERE link = l.link AND lane = lanes.lane ORDER BY id LIMIT 1) h) AS oldest, \
        g.from_at AS gap_since, coalesce(greatest(g.messages - coalesce(s.refilled, 0), 0), 0)::bigint AS gap_messages, \
        coalesce(s.lost, 0)::bigint AS lost, \
        (SELECT count(*) FROM link_refused r WHERE r.link = l.link) AS refused \
    FROM (SELECT link FROM link_state UNION SELECT link FROM link_counts) l \
        LEFT JOIN link_state s ON s.link = l.link \
        LEFT JOIN (SELECT link, sum(messages) AS messages, sum(bytes) AS bytes FROM link_counts GROUP BY link) c \
            ON c.link = l.link \
        LEFT JOIN (SELECT link, min(from_at) AS from_at, sum(messages) AS messages FROM link_gaps GROUP BY link) g \
            ON g.link = l.link \
    ORDER BY l.link";

/// Notes the links of the links file, before the daemon forwards to them; returns how many are new.
pub async fn register(pool: &PgPool, links: &[LinkName]) -> Result<u64, Outage> {
    let names: Vec<&str> = links.iter().map(LinkName::as_str).collect();
    let registered = sqlx::query(REGISTER).bind(names).execute(pool).await;
    Ok(registered.map_err(StoreError::from)?.rows_affected())
}

/// Stores the report of a lane.
pub async fn report_status(pool: &PgPool, report: &LaneReport) -> Result<(), Outage> {
    let clean = |text: &Option<String>| text.as_ref().map(|text| text.replace('\0', "\u{fffd}"));
    sqlx::query(REPORT)
        .bind(report.link.as_str())
        .bind(report.lane)
        .bind(&report.replica)
        .bind(report.state)
        .bind(report.since.to_utc())
        .bind(clean(&report.detail))
        .bind(clean(&report.advice))
        .bind(i64::try_from(report.published).unwrap_or(i64::MAX))
        .bind(i32::try_from(report.in_flight).unwrap_or(i32::MAX))
        .bind(report.rate.map(|(rate, _)| rate))
        .bind(report.rate.map(|(_, since)| since.to_utc()))
        .execute(pool)
        .await
        .map_err(StoreError::from)?;
    Ok(())
}

/// Deletes the reports of lanes that a link no longer has; `lanes` 0 deletes all of the link.
pub async fn forget_lanes(pool: &PgPool, link: &LinkName, lanes: u16) -> Result<(), Outage> {
    let query = sqlx::query("DELETE FROM link_status WHERE link = $1 AND lane >= $2");
    let query = query.bind(link.as_str()).bind(i32::from(lanes));
    query.execute(pool).await.map_err(StoreError::from)?;
    Ok(())
}

/// The reports of all lanes.
pub async fn list_status(pool: &PgPool) -> Result<Vec<LaneStatus>, Outage> {
    Ok(sqlx::query_as(STATUS).fetch_all(pool).await.map_err(StoreError::from)?)
}

/// What waits for each link, also for links that the links file no longer has.
pub async fn list_totals(pool: &PgPool) -> Result<Vec<LinkTotals>, Outage> {
    Ok(sqlx::query_as(TOTALS).fetch_all(pool).await.map_err(StoreError::from)?)
}

/// The name of this installation, where the links file gives none.
pub async fn node(pool: &PgPool) -> Result<String, Outage> {
    let query = sqlx::query_scalar("SELECT node FROM link_node");
    Ok(query.fetch_one(pool).await.map_err(StoreError::from)?)
}

/// The identity that this identity pool has given to the link.
pub async fn identity(
    pool: &PgPool,
    link: &LinkName,
    identity_pool_id: &str,
) -> Result<Option<String>, Outage> {
    let query = sqlx::query_scalar(
        "SELECT identity_id FROM link_identity WHERE link = $1 AND identity_pool_id = $2",
    );
    let query = query.bind(link.as_str()).bind(identity_pool_id);
    Ok(query.fetch_optional(pool).await.map_err(StoreError::from)?)
}

/// Stores the identity of the link; it replaces that of another identity pool.
pub async fn keep_identity(
    pool: &PgPool,
    link: &LinkName,
    identity_pool_id: &str,
    identity_id: &str,
) -> Result<(), Outage> {
    let statement = "INSERT INTO link_identity (link, identity_pool_id, identity_id) VALUES ($1, $2, $3) \
        ON CONFLICT (link) DO UPDATE SET identity_pool_id = excluded.identity_pool_id, \
            identity_id = excluded.identity_id, created_at = now()";
    let query = sqlx::query(statement).bind(link.as_str()).bind(identity_pool_id).bind(identity_id);
    query.execute(pool).await.map_err(StoreError::from)?;
    Ok(())
}
