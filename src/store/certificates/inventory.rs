//! The list of certificates: search, order, pages and counts; and how many end in which week.
//!
//! It only reads. A count stops at [`CERTIFICATES_COUNTED_MAX`], and each query has a time limit.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::{PgPool, Postgres, QueryBuilder, Transaction};
use uuid::Uuid;

use super::{
    COLUMNS, CertificateError, CertificateRow, CertificateStatus, Handle, NOT_REPLACED, find,
};
use crate::domain::certificate_search::{CertificateSearch, EndPeriod};
use crate::domain::ids::{DeviceKey, TenantId};
use crate::domain::search::SearchValue;
use crate::domain::time::Timestamp;

/// The most certificates that are counted.
pub const CERTIFICATES_COUNTED_MAX: u32 = 10_000;

/// The weeks that are counted one by one.
pub const EXPIRY_WEEKS: u32 = 26;

/// A certificate that ends within this many days should have a successor.
pub const DUE_DAYS: u32 = 30;

/// Time limit of a query: people wait for it, and the write path shares the server.
const PATIENCE: &str = "SET LOCAL statement_timeout = '10s'; SET LOCAL jit = off";

/// An ACTIVE certificate replaces it.
const REPLACED: &str =
    "EXISTS (SELECT FROM device_certificates n WHERE n.replaces = c.id AND n.status = 'ACTIVE')";

/// The ACTIVE certificates by the week of their end (-1: past, 26: later) and whether they are due;
/// once all of them, once those that an ACTIVE one replaces. It is faster than one join of both.
const WEEKS: &str = "WITH ends AS (SELECT c.id, \
            CASE WHEN c.not_after < $2 THEN -1 ELSE width_bucket(c.not_after, $3) - 1 END AS week, \
            c.not_after >= $2 AND c.not_after < $4 AS is_due \
        FROM device_certificates c WHERE c.status = 'ACTIVE' AND ($1::text IS NULL OR c.tenant_id = $1)) \
    SELECT week, is_due, false AS is_replaced, count(*) AS number FROM ends GROUP BY 1, 2 \
    UNION ALL SELECT week, is_due, true, count(*) FROM ends WHERE id IN \
        (SELECT replaces FROM device_certificates WHERE replaces IS NOT NULL AND status = 'ACTIVE') GROUP BY 1, 2";

/// Which certificates to list, and how.
#[derive(Clone, Debug, Default)]
pub struct CertificateFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this device.
    pub device: Option<DeviceKey>,
    /// Of this status.
    pub status: Option<CertificateStatus>,
    /// ACTIVE, not replaced by an ACTIVE one, and expiring before this time.
    pub ends_before: Option<Timestamp>,
    /// That this search finds.
    pub search: CertificateSearch,
    /// Sorted by expiry, and not by tenant, device and expiry.
    pub is_by_end: bool,
    /// After this certificate, in the order of the list.
    pub after: Option<Uuid>,
    /// The time that spans are counted from.
    pub now: Timestamp,
}

/// Certificates that end in one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndCount {
    /// All of them.
    pub ending: u32,
    /// Those that no ACTIVE certificate replaces.
    pub unreplaced: u32,
}

/// Certificates that end in one calendar week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExpiryWeek {
    /// The Monday.
    pub first_day: NaiveDate,
    /// All of them.
    pub ending: u32,
    /// Those that no ACTIVE certificate replaces.
    pub unreplaced: u32,
}

/// ACTIVE certificates by their end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpiryCounts {
    /// Their end has passed, and Sluice has not marked them EXPIRED yet.
    pub past: EndCount,
    /// That end within [`DUE_DAYS`] days from now.
    pub due: EndCount,
    /// Week by week, this one first; each week is there, also without certificates.
    pub weeks: Vec<ExpiryWeek>,
    /// That end later than these weeks.
    pub later: EndCount,
}

#[derive(sqlx::FromRow)]
struct EndRow {
    week: i32,
    is_due: bool,
    is_replaced: bool,
    number: i64,
}

/// Lists a page of certificates.
pub async fn list(
    pool: &PgPool,
    filter: &CertificateFilter,
    limit: u32,
) -> Result<Vec<CertificateRow>, CertificateError> {
    if let Some(after) = filter.after {
        find(pool, &Handle::Id(after)).await?;
    }
    let order = filter.order();
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(COLUMNS);
    filter.push_from(&mut query);
    if let Some(after) = filter.after {
        // The cursor names a row; its values give the position. One value at a time, so that an
        // index finds it.
        query.push(format!(" AND ({}) > (", order.join(", ")));
        for (place, column) in order.iter().enumerate() {
            query.push(if place == 0 { "" } else { ", " });
            query.push(format!("(SELECT {column} FROM device_certificates c WHERE c.id = "));
            query.push_bind(after).push(")");
        }
        query.push(")");
    }
    query.push(format!(" ORDER BY {} LIMIT ", order.join(", "))).push_bind(i64::from(limit));
    let mut tx = begin(pool).await?;
    Ok(query.build_query_as().fetch_all(&mut *tx).await?)
}

/// Counts the certificates that `filter` finds, in any place; stops after one more than
/// [`CERTIFICATES_COUNTED_MAX`].
pub async fn count(pool: &PgPool, filter: &CertificateFilter) -> Result<u32, CertificateError> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT count(*) FROM (SELECT");
    filter.push_from(&mut query);
    query.push(" LIMIT ").push_bind(i64::from(CERTIFICATES_COUNTED_MAX) + 1).push(") found");
    let mut tx = begin(pool).await?;
    let found: i64 = query.build_query_scalar().fetch_one(&mut *tx).await?;
    Ok(u32::try_from(found).unwrap_or(CERTIFICATES_COUNTED_MAX + 1))
}

/// Counts the ACTIVE certificates of a tenant, or of all, by the week of their end.
pub async fn count_ends(
    pool: &PgPool,
    tenant: Option<&TenantId>,
    now: Timestamp,
) -> Result<ExpiryCounts, CertificateError> {
    let monday = now.to_utc().date_naive().week(chrono::Weekday::Mon).first_day();
    let starts = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc();
    let weeks: Vec<DateTime<Utc>> =
        monday.iter_weeks().take(EXPIRY_WEEKS as usize + 1).map(starts).collect();
    let due = now.plus_seconds(i64::from(DUE_DAYS) * 86_400).to_utc();
    let later = i32::try_from(EXPIRY_WEEKS).unwrap_or(i32::MAX);
    let mut tx = begin(pool).await?;
    let query = sqlx::query_as(WEEKS).bind(tenant.map(TenantId::as_str)).bind(now.to_utc());
    let query = query.bind(weeks).bind(due);
    let rows: Vec<EndRow> = query.fetch_all(&mut *tx).await?;
    let weeks = monday.iter_weeks().zip(0..later).map(|(first_day, place)| {
        let EndCount { ending, unreplaced } = EndCount::of(&rows, |row| row.week == place);
        ExpiryWeek { first_day, ending, unreplaced }
    });
    Ok(ExpiryCounts {
        past: EndCount::of(&rows, |row| row.week < 0),
        due: EndCount::of(&rows, |row| row.is_due),
        weeks: weeks.collect(),
        later: EndCount::of(&rows, |row| row.week == later),
    })
}

/// Counts the ACTIVE certificates that this authority issued, and those of others.
pub async fn count_active_of(pool: &PgPool, issuer: &str) -> Result<(i64, i64), CertificateError> {
    let counts = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE issuer = $1), count(*) FILTER (WHERE issuer <> $1) \
         FROM device_certificates WHERE status = 'ACTIVE'",
    );
    Ok(counts.bind(issuer).fetch_one(pool).await?)
}

// === impl CertificateFilter ===

impl CertificateFilter {
    const fn order(&self) -> &'static [&'static str] {
        if self.is_by_end || self.ends_before.is_some() {
            &["c.not_after", "c.id"]
        } else {
            &["c.tenant_id", "c.device_id", "c.not_after", "c.id"]
        }
    }

    /// Pushes the table and the conditions, without the place.
    fn push_from(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" FROM device_certificates c WHERE true");
        if let Some(tenant) = &self.tenant {
            query.push(" AND c.tenant_id = ").push_bind(tenant.to_string());
        }
        if let Some(device) = &self.device {
            query.push(" AND c.tenant_id = ").push_bind(device.tenant().to_owned());
            query.push(" AND c.device_id = ").push_bind(device.device().to_owned());
        }
        if let Some(status) = self.status {
            push_status(query.push(" AND "), status.label());
        }
        if let Some(end) = self.ends_before {
            query.push(" AND ").push(NOT_REPLACED);
            query.push(" AND c.not_after < ").push_bind(end.to_utc());
        }
        for (key, included, excluded) in self.search.0.groups() {
            if !included.is_empty() {
                query.push(" AND (");
                for (place, value) in included.into_iter().enumerate() {
                    query.push(if place == 0 { "" } else { " OR " });
                    self.push_condition(query, key, value);
                }
                query.push(")");
            }
            for value in excluded {
                query.push(" AND NOT ");
                self.push_condition(query, key, value);
            }
        }
    }

    fn push_condition(&self, query: &mut QueryBuilder<Postgres>, key: &str, value: &SearchValue) {
        match (key, value) {
            ("tenant", value) => push_text(query, "c.tenant_id", value),
            ("device", value) => push_text(query, "c.device_id", value),
            ("cn", value) => push_text(query, "c.common_name", value),
            ("fingerprint", value) => push_hex(query, "c.fingerprint_sha256", value),
            ("serial", value) => push_hex(query, "c.serial_number", value),
            ("status", SearchValue::Word(status)) => push_status(query, status),
            ("replaced", SearchValue::Word("yes")) => {
                query.push(REPLACED);
            }
            ("replaced", SearchValue::Word(_)) => {
                query.push("NOT ").push(REPLACED);
            }
            ("proven", SearchValue::Word(word)) => push_proven(query, word),
            ("ends", value) => self.push_end(query, value),
            // The grammar gives no other pair.
            _ => {
                query.push("false");
            }
        }
    }

    fn push_end(&self, query: &mut QueryBuilder<Postgres>, value: &SearchValue) {
        let (from, until) =
            EndPeriod::of(value).map_or((None, None), |period| period.bounds(self.now));
        query.push("(true");
        if let Some(from) = from {
            query.push(" AND c.not_after >= ").push_bind(from);
        }
        if let Some(until) = until {
            query.push(" AND c.not_after < ").push_bind(until);
        }
        query.push(")");
    }
}

// === impl EndCount ===

impl EndCount {
    /// The sum of these rows.
    fn of(rows: &[EndRow], is_meant: impl Fn(&EndRow) -> bool) -> Self {
        let sum = |is_replaced| {
            let meant = rows.iter().filter(|row| row.is_replaced == is_replaced && is_meant(row));
            u32::try_from(meant.map(|row| row.number).sum::<i64>()).unwrap_or(u32::MAX)
        };
        let ending = sum(false);
        Self { ending, unreplaced: ending.saturating_sub(sum(true)) }
    }
}

// === private helpers ===

/// As a literal, so that the indexes of one status fit; a status has no other text than these.
fn push_status(query: &mut QueryBuilder<Postgres>, status: &str) {
    query.push(match status {
        "ACTIVE" => "c.status = 'ACTIVE'",
        "REVOKED" => "c.status = 'REVOKED'",
        "EXPIRED" => "c.status = 'EXPIRED'",
        _ => "false",
    });
}

fn push_text(query: &mut QueryBuilder<Postgres>, column: &str, value: &SearchValue) {
    match value {
        SearchValue::Exact(text) => query.push(column).push(" = ").push_bind(text.clone()),
        SearchValue::Prefix(text) => query.push(column).push(" ^@ ").push_bind(text.clone()),
        _ => query.push("false"),
    };
}

/// Digits in any case, with or without colons; a beginning as a range, which an index finds.
fn push_hex(query: &mut QueryBuilder<Postgres>, column: &str, value: &SearchValue) {
    let plain = |text: &str| text.replace(':', "").to_ascii_lowercase();
    match value {
        SearchValue::Exact(text) => query.push(column).push(" = ").push_bind(plain(text)),
        SearchValue::Prefix(text) => {
            let first = plain(text);
            // `g` follows every digit.
            let after = format!("{first}g");
            query.push("(").push(column).push(" >= ").push_bind(first);
            query.push(" AND ").push(column).push(" < ").push_bind(after).push(")")
        }
        _ => query.push("false"),
    };
}

fn push_proven(query: &mut QueryBuilder<Postgres>, word: &str) {
    query.push(
        "(c.status = 'REVOKED' AND EXISTS (SELECT FROM certificate_revocations r WHERE r.certificate_id = c.id AND r.proven_at ",
    );
    query.push(if word == "yes" { "IS NOT NULL))" } else { "IS NULL))" });
}

/// Begins a read-only transaction with a time limit; it is never committed.
async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::raw_sql(PATIENCE).execute(&mut *tx).await?;
    Ok(tx)
}
