//! The list of devices: search, order and pages, with what a person wants to know of each device.
//!
//! It only reads. A page costs a bounded number of rows per device; a count stops at
//! [`COUNTED_MAX`]. `device_state` has no index by time, because each message updates it: the list
//! by time sorts all devices that match.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgPool, Postgres, QueryBuilder, Transaction};
use uuid::Uuid;

use super::devices::{DeviceError, DeviceRow};
use crate::domain::device::DeviceStatus;
use crate::domain::device_search::DeviceSearch;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::domain::search::SearchValue;
use crate::domain::time::Timestamp;
use crate::store::certificates::CertificateStatus;

/// The most devices that are counted.
pub const COUNTED_MAX: u32 = 10_000;

/// The most refused messages that are counted for one device.
pub const REFUSED_COUNTED_MAX: i32 = 100;

/// Time limit of a query: people wait for it, and the write path shares the server.
const PATIENCE: &str =
    "SET LOCAL statement_timeout = '10s'; SET LOCAL jit = off; SET LOCAL work_mem = '32MB'";

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSort {
    /// By tenant and name.
    #[default]
    Name,
    /// By the last accepted message: never first, then the oldest.
    LastHeard,
    /// By the last accepted message, the latest first.
    LatestHeard,
}

/// Which devices to list, and how.
#[derive(Clone, Debug)]
pub struct DeviceListFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this status.
    pub status: Option<DeviceStatus>,
    /// That this search finds.
    pub search: DeviceSearch,
    /// In this order.
    pub sort: DeviceSort,
    /// After this place.
    pub after: Option<DevicePlace>,
    /// The time that spans are counted from.
    pub now: Timestamp,
}

/// The place of a device in a list. As text `tenant/device`, or with its time
/// `<microseconds>@tenant/device` or `never@tenant/device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlace {
    /// The tenant of the device.
    pub tenant: String,
    /// The device.
    pub device: String,
    /// When it was last heard, in a list that is sorted by it.
    #[expect(clippy::option_option, reason = "in another order, never, and a time differ")]
    pub heard: Option<Option<Timestamp>>,
}

/// The text is no [`DevicePlace`], or of a list in another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the cursor of an earlier page in the same order, such as acme/pump-1")]
pub struct InvalidPlace;

/// A device in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct DeviceListRow {
    /// The device.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub device: DeviceRow,
    /// When its last message was accepted.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// Its certificate: an ACTIVE one, or else a REVOKED one; of several the one that expires last.
    pub certificate_id: Option<Uuid>,
    /// The status of that certificate.
    pub certificate_status: Option<CertificateStatus>,
    /// When that certificate expires.
    pub certificate_not_after: Option<DateTime<Utc>>,
    /// Whether an ACTIVE certificate replaces it.
    pub certificate_replaced: Option<bool>,
    /// Its messages in the quarantine of the last 24 hours, at most [`REFUSED_COUNTED_MAX`].
    pub refused_24h: i64,
    /// The version of its desired document; 0: there has been none.
    pub desired_version: i64,
    /// The version that it gave its report.
    pub reported_version: Option<i64>,
    /// Whether it reports what is desired.
    pub in_sync: bool,
}

/// What is read of each device of a page, and of no other.
const OF_EACH: &str = "SELECT page.*, c.id AS certificate_id, c.status AS certificate_status,
         c.not_after AS certificate_not_after, c.replaced AS certificate_replaced, refused.kept AS refused_24h,
         coalesce(s.desired_version, 0) AS desired_version, s.reported_version,
         sluice_shadow_delta(s.desired, s.reported) IS NULL AS in_sync
     FROM page LEFT JOIN device_state s USING (tenant_id, device_id)
     LEFT JOIN LATERAL (
         SELECT h.id, h.status, least(h.not_after, '9999-12-31Z') AS not_after, EXISTS (SELECT FROM device_certificates n
             WHERE n.replaces = h.id AND n.status = 'ACTIVE') AS replaced
         FROM device_certificates h WHERE h.tenant_id = page.tenant_id AND h.device_id = page.device_id
         ORDER BY h.status = 'ACTIVE' DESC, h.status = 'REVOKED' DESC, h.not_after DESC, h.id LIMIT 1) c ON true,
     LATERAL (SELECT count(*) AS kept FROM (
         SELECT FROM quarantine_events q WHERE q.device_id = page.device_id AND q.tenant_id = page.tenant_id
         AND q.quarantined_at >= ";

/// The devices that hold a certificate of one status.
const HOLDERS: &str = "(d.tenant_id, d.device_id) IN (SELECT h.tenant_id, h.device_id FROM device_certificates h WHERE h.status = ";

/// Lists a page of devices.
pub async fn list(
    pool: &PgPool,
    filter: &DeviceListFilter,
    limit: u32,
) -> Result<Vec<DeviceListRow>, DeviceError> {
    let mut query = QueryBuilder::<Postgres>::new(
        "WITH page AS MATERIALIZED (SELECT d.tenant_id, d.device_id, d.site_id, d.status,
             d.provision_token_hash IS NOT NULL AS has_token, d.created_at, d.updated_at, s.last_seen_at",
    );
    filter.push_from(&mut query);
    filter.push_after(&mut query);
    let order = filter.sort.order();
    query.push(" ORDER BY ").push(order).push(" LIMIT ").push_bind(i64::from(limit)).push(") ");
    query.push(OF_EACH).push_bind(filter.now.plus_seconds(-86_400).to_utc());
    query
        .push(" LIMIT ")
        .push_bind(i64::from(REFUSED_COUNTED_MAX))
        .push(") bounded) refused ORDER BY ");
    query.push(order.replace("d.", "page.").replace("s.", "page."));
    let mut tx = begin(pool).await?;
    Ok(query.build_query_as().fetch_all(&mut *tx).await?)
}

/// Counts the devices that `filter` finds, in any place; stops after one more than
/// [`COUNTED_MAX`].
pub async fn count(pool: &PgPool, filter: &DeviceListFilter) -> Result<u32, DeviceError> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT count(*) FROM (SELECT");
    filter.push_from(&mut query);
    query.push(" LIMIT ").push_bind(i64::from(COUNTED_MAX) + 1).push(") found");
    let mut tx = begin(pool).await?;
    let found: i64 = query.build_query_scalar().fetch_one(&mut *tx).await?;
    Ok(u32::try_from(found).unwrap_or(COUNTED_MAX + 1))
}

// === impl DeviceListFilter ===

impl DeviceListFilter {
    /// Pushes the tables and the conditions, without the place.
    fn push_from(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(
            " FROM devices d LEFT JOIN device_state s USING (tenant_id, device_id) WHERE true",
        );
        if let Some(tenant) = &self.tenant {
            query.push(" AND d.tenant_id = ").push_bind(tenant.to_string());
        }
        if let Some(status) = self.status {
            query.push(" AND d.status = ").push_bind(status);
        }
        for (key, included, excluded) in self.search.0.groups() {
            if !included.is_empty() {
                query.push(" AND (false");
                for value in included {
                    query.push(" OR ");
                    self.push_condition(query, key, value);
                }
                query.push(")");
            }
            for value in excluded {
                query.push(" AND NOT coalesce(");
                self.push_condition(query, key, value);
                query.push(", false)");
            }
        }
    }

    fn push_condition(&self, query: &mut QueryBuilder<Postgres>, key: &str, value: &SearchValue) {
        match (key, value) {
            ("tenant", value) => push_text(query, "d.tenant_id", value),
            ("site", value) => push_text(query, "d.site_id", value),
            ("device", value) => push_text(query, "d.device_id", value),
            ("status", SearchValue::Word(status)) => {
                query.push("d.status = ").push_bind(*status);
            }
            ("silent", SearchValue::Span(span)) => {
                query.push("(s.last_seen_at IS NULL OR s.last_seen_at < ");
                query.push_bind(self.now.plus_seconds(-span).to_utc()).push(")");
            }
            ("heard", SearchValue::Word(word)) => {
                let is_null = if *word == "never" { "IS NULL" } else { "IS NOT NULL" };
                query.push("s.last_seen_at ").push(is_null);
            }
            ("refused", SearchValue::Span(span)) => self.push_refused(query, *span),
            ("token", SearchValue::Word(word)) => {
                let is_null = if *word == "yes" { "IS NOT NULL" } else { "IS NULL" };
                query.push("d.provision_token_hash ").push(is_null);
            }
            ("certificate", SearchValue::Word("none")) => {
                query.push("NOT EXISTS (SELECT FROM device_certificates h WHERE h.tenant_id = d.tenant_id AND h.device_id = d.device_id)");
            }
            ("certificate", SearchValue::Word(word)) => push_certificate(query, word),
            ("certificate", SearchValue::WordSpan(_, span)) => self.push_ending(query, *span),
            // The grammar gives no other pair.
            _ => {
                query.push("false");
            }
        }
    }

    fn push_refused(&self, query: &mut QueryBuilder<Postgres>, span: i64) {
        query.push(
            "(d.tenant_id, d.device_id) IN (SELECT q.tenant_id, q.device_id FROM quarantine_events q WHERE q.quarantined_at >= ",
        );
        query.push_bind(self.now.plus_seconds(-span).to_utc()).push(")");
    }

    fn push_ending(&self, query: &mut QueryBuilder<Postgres>, span: i64) {
        query.push(
            "(d.tenant_id, d.device_id) IN (SELECT h.tenant_id, h.device_id FROM device_certificates h WHERE h.status = 'ACTIVE'
                 AND NOT EXISTS (SELECT FROM device_certificates n WHERE n.replaces = h.id AND n.status = 'ACTIVE')
                 AND h.not_after < ",
        );
        query.push_bind(self.now.plus_seconds(span).to_utc()).push(")");
    }

    fn push_after(&self, query: &mut QueryBuilder<Postgres>) {
        let Some(DevicePlace { tenant, device, heard }) = &self.after else { return };
        let heard = heard.flatten().map(Timestamp::to_utc);
        match self.sort {
            DeviceSort::Name => query.push(" AND (d.tenant_id, d.device_id) > ("),
            DeviceSort::LastHeard => query
                .push(" AND (coalesce(s.last_seen_at, '-infinity'), d.tenant_id, d.device_id) > (coalesce(")
                .push_bind(heard)
                .push(", '-infinity'), "),
            DeviceSort::LatestHeard => query
                .push(" AND (coalesce(s.last_seen_at, '-infinity'), d.tenant_id, d.device_id) < (coalesce(")
                .push_bind(heard)
                .push(", '-infinity'), "),
        };
        query.push_bind(tenant.clone()).push(", ").push_bind(device.clone()).push(")");
    }

    /// Whether the place belongs to a list in this order.
    pub fn fits(&self) -> Result<(), InvalidPlace> {
        let is_timed = self.after.as_ref().map(|place| place.heard.is_some());
        let fits = is_timed.is_none_or(|is_timed| is_timed == (self.sort != DeviceSort::Name));
        if fits { Ok(()) } else { Err(InvalidPlace) }
    }
}

// === impl DeviceSort ===

impl DeviceSort {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Name, Self::LastHeard, Self::LatestHeard];

    /// The name in the API and on the command line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::LastHeard => "last_heard",
            Self::LatestHeard => "-last_heard",
        }
    }

    /// The order of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.label() == label)
    }

    /// The place of `row` in this order.
    pub fn place_of(self, row: &DeviceListRow) -> DevicePlace {
        let DeviceRow { tenant_id, device_id, .. } = &row.device;
        let heard = (self != Self::Name).then(|| row.last_seen_at.map(Timestamp::from));
        DevicePlace { tenant: tenant_id.clone(), device: device_id.clone(), heard }
    }

    const fn order(self) -> &'static str {
        match self {
            Self::Name => "d.tenant_id, d.device_id",
            Self::LastHeard => "coalesce(s.last_seen_at, '-infinity'), d.tenant_id, d.device_id",
            Self::LatestHeard => {
                "coalesce(s.last_seen_at, '-infinity') DESC, d.tenant_id DESC, d.device_id DESC"
            }
        }
    }
}

// === impl DevicePlace ===

impl FromStr for DevicePlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (heard, name) = match text.split_once('@') {
            None => (None, text),
            Some(("never", name)) => (Some(None), name),
            Some((micros, name)) => {
                let at = micros.parse().map(Timestamp::from_micros).map_err(|_| InvalidPlace)?;
                (Some(Some(at).filter(|at| at.is_storable())), name)
            }
        };
        let (tenant, device) = name.split_once('/').ok_or(InvalidPlace)?;
        DeviceKey::new(tenant, device).map_err(|_| InvalidPlace)?;
        Ok(Self { tenant: tenant.to_owned(), device: device.to_owned(), heard })
    }
}

impl fmt::Display for DevicePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.heard {
            None => {}
            Some(None) => f.write_str("never@")?,
            Some(Some(at)) => write!(f, "{}@", at.micros())?,
        }
        write!(f, "{}/{}", self.tenant, self.device)
    }
}

// === private helpers ===

fn push_text(query: &mut QueryBuilder<Postgres>, column: &str, value: &SearchValue) {
    match value {
        SearchValue::Exact(text) => query.push(column).push(" = ").push_bind(text.clone()),
        SearchValue::Prefix(text) => query.push(column).push(" ^@ ").push_bind(text.clone()),
        _ => query.push("false"),
    };
}

/// By the certificate that a row shows.
fn push_certificate(query: &mut QueryBuilder<Postgres>, word: &str) {
    let statuses: &[&str] = match word {
        "active" => &["'ACTIVE'"],
        "revoked" => &["'REVOKED'", "'ACTIVE'"],
        _ => &["'EXPIRED'", "'REVOKED'", "'ACTIVE'"],
    };
    query.push("(");
    for (place, status) in statuses.iter().enumerate() {
        query.push(if place == 0 { "" } else { " AND NOT " }).push(HOLDERS).push(status).push(")");
    }
    query.push(")");
}

/// Begins a read-only transaction with a time limit; it is never committed.
async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::raw_sql(PATIENCE).execute(&mut *tx).await?;
    Ok(tx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        for heard in [None, Some(None), Some(Some(Timestamp::from_micros(-7)))] {
            let place = DevicePlace { tenant: "acme".into(), device: "urn:pump-1".into(), heard };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in ["", "acme", "x@acme/pump", "never@acme", "1@2@acme/pump", "acme/a/b"] {
            assert_eq!(wrong.parse::<DevicePlace>(), Err(InvalidPlace), "{wrong}");
        }
    }
}
