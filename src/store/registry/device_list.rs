//! The list of devices: search, order and pages, with what a person wants to know of each device.
//!
//! It only reads. A page costs a bounded number of rows per device; a count stops at
//! [`COUNTED_MAX`]. `device_state` has no index by time, because each message updates it: the list
//! by time sorts all devices that match.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgPool, Postgres, QueryBuilder, Transaction};
use uuid::Uuid;

use super::device_order::{DevicePlace, DeviceSort, HEARD, InvalidPlace};
use super::device_refused::{REFUSED, RefusedWay};
use super::devices::{DeviceError, DeviceRow};
use crate::domain::device::DeviceStatus;
use crate::domain::device_search::DeviceSearch;
use crate::domain::ids::TenantId;
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

/// What is read of each device that matches.
const COLUMNS: &str = "d.tenant_id, d.device_id, d.site_id, d.status,
     d.provision_token_hash IS NOT NULL AS has_token, d.created_at, d.updated_at, s.last_seen_at";

/// What is read of each device of a page, and of no other.
const OF_EACH: &str = "SELECT page.*, c.id AS certificate_id, c.status AS certificate_status,
         c.not_after AS certificate_not_after, c.replaced AS certificate_replaced, refused.kept AS refused_24h,
         coalesce(s.desired_version, 0) AS desired_version, s.reported_version,
         sluice_shadow_delta(s.desired, s.reported) IS NULL AS in_sync";

const FROM_EACH: &str = " FROM page LEFT JOIN device_state s USING (tenant_id, device_id)
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
    let mut tx = begin(pool).await?;
    let way = RefusedWay::of(&mut tx, &filter.search, filter.now).await?;
    let mut query = QueryBuilder::<Postgres>::new("WITH page AS MATERIALIZED (");
    filter.push_page(&mut query, way);
    query.push(" LIMIT ").push_bind(i64::from(limit)).push(") ");
    filter.push_each(&mut query);
    Ok(query.build_query_as().fetch_all(&mut *tx).await?)
}

/// Counts the devices that `filter` finds, in any place; stops after one more than
/// [`COUNTED_MAX`].
pub async fn count(pool: &PgPool, filter: &DeviceListFilter) -> Result<u32, DeviceError> {
    let mut tx = begin(pool).await?;
    let way = RefusedWay::of(&mut tx, &filter.search, filter.now).await?;
    let mut query = QueryBuilder::<Postgres>::new("SELECT count(*) FROM (SELECT");
    filter.push_from(&mut query);
    filter.push_terms(&mut query, way, |_| true);
    query.push(" LIMIT ").push_bind(i64::from(COUNTED_MAX) + 1).push(") found");
    let found: i64 = query.build_query_scalar().fetch_one(&mut *tx).await?;
    Ok(u32::try_from(found).unwrap_or(COUNTED_MAX + 1))
}

// === impl DeviceListFilter ===

impl DeviceListFilter {
    /// Pushes the rows of the page, in order.
    ///
    /// After many refusals, the devices are sorted before each is looked up in the quarantine: the
    /// page then needs few of these lookups.
    fn push_page(&self, query: &mut QueryBuilder<Postgres>, way: RefusedWay) {
        let order = self.sort.order();
        if way == RefusedWay::Scan {
            query.push("SELECT ").push(COLUMNS);
            self.push_from(query);
            self.push_terms(query, way, |_| true);
            self.push_after(query);
            query.push(" ORDER BY ").push(order);
            return;
        }
        query
            .push("SELECT * FROM (SELECT ")
            .push(COLUMNS)
            .push(", ")
            .push(HEARD)
            .push(" AS heard_at");
        self.push_from(query);
        self.push_terms(query, way, |key| key != REFUSED);
        self.push_after(query);
        query.push(" ORDER BY ").push(order).push(" OFFSET 0) d WHERE true");
        self.push_terms(query, way, |key| key == REFUSED);
        query.push(" ORDER BY ").push(order.replace(HEARD, "d.heard_at"));
    }

    /// Pushes the tables and the simple conditions.
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
    }

    /// Pushes the conditions of the search with these keys.
    fn push_terms(
        &self,
        query: &mut QueryBuilder<Postgres>,
        way: RefusedWay,
        is_meant: impl Fn(&str) -> bool,
    ) {
        for (key, included, excluded) in self.search.0.groups() {
            if !is_meant(key) {
                continue;
            }
            if !included.is_empty() {
                query.push(" AND (false");
                for value in included {
                    query.push(" OR ");
                    self.push_condition(query, way, (key, value));
                }
                query.push(")");
            }
            for value in excluded {
                query.push(" AND NOT coalesce(");
                self.push_condition(query, way, (key, value));
                query.push(", false)");
            }
        }
    }

    fn push_condition(
        &self,
        query: &mut QueryBuilder<Postgres>,
        way: RefusedWay,
        (key, value): (&str, &SearchValue),
    ) {
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
            (REFUSED, SearchValue::Span(span)) => way.push(query, self.now.plus_seconds(-span)),
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

    fn push_ending(&self, query: &mut QueryBuilder<Postgres>, span: i64) {
        query.push(
            "(d.tenant_id, d.device_id) IN (SELECT h.tenant_id, h.device_id FROM device_certificates h WHERE h.status = 'ACTIVE'
                 AND NOT EXISTS (SELECT FROM device_certificates n WHERE n.replaces = h.id AND n.status = 'ACTIVE')
                 AND h.not_after < ",
        );
        query.push_bind(self.now.plus_seconds(span).to_utc()).push(")");
    }

    /// Pushes what is read of each row of the page, and the order.
    fn push_each(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(OF_EACH).push(FROM_EACH);
        query.push_bind(self.now.plus_seconds(-86_400).to_utc());
        query.push(" LIMIT ").push_bind(i64::from(REFUSED_COUNTED_MAX));
        query.push(") bounded) refused ORDER BY ");
        query.push(self.sort.order().replace("d.", "page.").replace("s.", "page."));
    }

    /// Pushes the place.
    fn push_after(&self, query: &mut QueryBuilder<Postgres>) {
        let Some(DevicePlace { tenant, device, heard }) = &self.after else { return };
        let heard = heard.flatten().map(Timestamp::to_utc);
        let names = "d.tenant_id, d.device_id) ";
        if self.sort == DeviceSort::Name {
            query.push(" AND (").push(names).push("> (");
        } else {
            let side = if self.sort == DeviceSort::LastHeard { ">" } else { "<" };
            query
                .push(" AND (")
                .push(HEARD)
                .push(", ")
                .push(names)
                .push(side)
                .push(" (coalesce(")
                .push_bind(heard);
            query.push(", '-infinity'), ");
        }
        query.push_bind(tenant.clone()).push(", ").push_bind(device.clone()).push(")");
    }

    /// Whether the place belongs to a list in this order.
    pub fn fits(&self) -> Result<(), InvalidPlace> {
        let is_timed = self.after.as_ref().map(|place| place.heard.is_some());
        let fits = is_timed.is_none_or(|is_timed| is_timed == (self.sort != DeviceSort::Name));
        if fits { Ok(()) } else { Err(InvalidPlace) }
    }
}

// === impl DeviceListRow ===

impl DeviceListRow {
    /// Its place in a list of this order.
    pub fn place(&self, sort: DeviceSort) -> DevicePlace {
        let DeviceRow { tenant_id, device_id, .. } = &self.device;
        let heard = (sort != DeviceSort::Name).then(|| self.last_seen_at.map(Timestamp::from));
        DevicePlace { tenant: tenant_id.clone(), device: device_id.clone(), heard }
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
