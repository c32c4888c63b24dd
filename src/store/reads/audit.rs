//! Reads the audit log, the newest entry first: who changed what, by the search grammar of all lists.
//!
//! It writes nothing: [`crate::store::registry::audit`] does.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::domain::ids::TenantId;
use crate::domain::ports::Outage;
use crate::domain::search::{Accepts, Search, SearchError, SearchKey, SearchKeys, SearchValue};
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// The keys of a search in the audit log. A word without a key is a device.
pub(crate) const AUDIT_KEYS: SearchKeys = SearchKeys {
    keys: &[
        key("actor", Accepts::Text, "the author, such as console:alice or cli:*"),
        key("action", Accepts::Text, "what was done, such as device.add or certificate.*"),
        key("tenant", Accepts::Text, "the tenant that was changed"),
        key("device", Accepts::Text, "the device that was changed"),
        key("since", Accepts::Time, "changes of this time and later"),
        key("until", Accepts::Time, "changes before this time"),
    ],
    bare: "device",
};

/// Which entries; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditFilter {
    /// What the search selects.
    pub search: Search,
    /// Only entries of this tenant.
    pub tenant: Option<TenantId>,
}

/// The position of an entry, where the next page begins. As text `<microseconds>-<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuditCursor {
    /// When the change was made.
    pub at: Timestamp,
    /// The identifier of the entry.
    pub id: i64,
}

/// The text is no [`AuditCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a cursor, as printed by `sluice audit list`")]
pub(crate) struct InvalidAuditCursor;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct AuditRow {
    /// The identifier of the entry.
    pub id: i64,
    /// When the change was made.
    pub at: DateTime<Utc>,
    /// Who made it.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// The tenant that was changed.
    pub tenant_id: Option<String>,
    /// The device that was changed.
    pub device_id: Option<String>,
    /// More about the change, an object.
    pub detail: Value,
}

/// Entries that a list with exclusions looks at: no index serves them.
const SCAN_MAX: i64 = 50_000;

/// Sorts after all that begins alike.
const LAST_CHARACTER: char = char::MAX;

/// Lists a page of entries before `before`. With exclusions it looks at [`SCAN_MAX`] entries at most:
/// [`scan_end`] says where it stopped.
pub(crate) async fn list(
    pool: &PgPool,
    filter: &AuditFilter,
    before: Option<AuditCursor>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<AuditRow>, Outage> {
    let mut query =
        QueryBuilder::new("SELECT id, at, actor, action, tenant_id, device_id, detail FROM ");
    if filter.excludes() {
        query.push("(SELECT * FROM audit_log WHERE true");
        filter.push_included(&mut query, before, now);
        query.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(SCAN_MAX).push(") AS scanned");
        query.push(" WHERE true");
        filter.push_excluded(&mut query, now);
    } else {
        query.push("audit_log WHERE true");
        filter.push_included(&mut query, before, now);
    }
    query.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(i64::from(limit));
    query.build_query_as().fetch_all(pool).await.map_err(|error| StoreError::from(error).into())
}

/// Where [`list`] stopped to look, if it did not look at all entries.
pub(crate) async fn scan_end(
    pool: &PgPool,
    filter: &AuditFilter,
    before: Option<AuditCursor>,
    now: Timestamp,
) -> Result<Option<AuditCursor>, Outage> {
    if !filter.excludes() {
        return Ok(None);
    }
    let mut query = QueryBuilder::new("SELECT at, id FROM audit_log WHERE true");
    filter.push_included(&mut query, before, now);
    query.push(" ORDER BY at DESC, id DESC LIMIT 1 OFFSET ").push_bind(SCAN_MAX - 1);
    let place: Option<(DateTime<Utc>, i64)> =
        query.build_query_as().fetch_optional(pool).await.map_err(StoreError::from)?;
    Ok(place.map(|(at, id)| AuditCursor { at: at.into(), id }))
}

// === impl AuditFilter ===

impl AuditFilter {
    /// Reads a search.
    pub(crate) fn read(
        search: Option<&str>,
        tenant: Option<TenantId>,
    ) -> Result<Self, SearchError> {
        let search = search.map(|text| Search::read(text, &AUDIT_KEYS)).transpose()?;
        Ok(Self { search: search.unwrap_or_default(), tenant })
    }

    /// Whether the search excludes anything.
    fn excludes(&self) -> bool {
        self.search.groups().into_iter().any(|(_, _, excluded)| !excluded.is_empty())
    }

    /// Each key is one condition: one of its values that include.
    fn push_included(
        &self,
        query: &mut QueryBuilder<Postgres>,
        before: Option<AuditCursor>,
        now: Timestamp,
    ) {
        if let Some(tenant) = &self.tenant {
            query.push(" AND tenant_id = ").push_bind(tenant.to_string());
        }
        for (key, included, _) in self.search.groups() {
            if !included.is_empty() {
                query.push(" AND (");
                push_any(query, key, &included, now);
                query.push(")");
            }
        }
        if let Some(before) = before {
            query.push(" AND (at, id) < (").push_bind(before.at.to_utc());
            query.push(", ").push_bind(before.id).push(")");
        }
    }

    /// And none of those that exclude.
    fn push_excluded(&self, query: &mut QueryBuilder<Postgres>, now: Timestamp) {
        for (key, _, excluded) in self.search.groups() {
            if !excluded.is_empty() {
                query.push(" AND (");
                push_any(query, key, &excluded, now);
                // An entry without a tenant is not one of the excluded tenant.
                query.push(") IS NOT TRUE");
            }
        }
    }
}

// === impl AuditRow ===

impl AuditRow {
    /// Its position.
    pub(crate) fn place(&self) -> AuditCursor {
        AuditCursor { at: self.at.into(), id: self.id }
    }
}

// === impl AuditCursor ===

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.micros(), self.id)
    }
}

impl FromStr for AuditCursor {
    type Err = InvalidAuditCursor;

    fn from_str(text: &str) -> Result<Self, InvalidAuditCursor> {
        let (at, id) = text.rsplit_once('-').ok_or(InvalidAuditCursor)?;
        let at = at.parse().map(Timestamp::from_micros).map_err(|_| InvalidAuditCursor)?;
        let id = id.parse().map_err(|_| InvalidAuditCursor)?;
        if at.is_storable() { Ok(Self { at, id }) } else { Err(InvalidAuditCursor) }
    }
}

// === private helpers ===

const fn key(name: &'static str, accepts: Accepts, help: &'static str) -> SearchKey {
    SearchKey { name, accepts, help }
}

/// One of the values. The key is one of [`AUDIT_KEYS`].
fn push_any(
    query: &mut QueryBuilder<Postgres>,
    key: &str,
    values: &[&SearchValue],
    now: Timestamp,
) {
    for (place, value) in values.iter().enumerate() {
        query.push(if place == 0 { "" } else { " OR " });
        match value {
            SearchValue::Time(bound) => {
                query.push(if key == "until" { "at < " } else { "at >= " });
                query.push_bind(bound.at(now).to_utc());
            }
            SearchValue::Prefix(text) => {
                query.push("(").push(column(key)).push(" ~>=~ ").push_bind(text.clone());
                query.push(" AND ").push(column(key)).push(" ~<~ ");
                query.push_bind(format!("{text}{LAST_CHARACTER}")).push(")");
            }
            SearchValue::Exact(text) => {
                query.push(column(key)).push(" = ").push_bind(text.clone());
            }
            // No key of the audit log has other values.
            other => {
                query.push(column(key)).push(" = ").push_bind(other.to_string());
            }
        }
    }
}

fn column(key: &str) -> &'static str {
    match key {
        "actor" => "actor",
        "action" => "action",
        "tenant" => "tenant_id",
        _ => "device_id",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(search: &str, tenant: Option<&str>) -> String {
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        let filter = AuditFilter::read(Some(search), tenant).unwrap();
        let mut query = QueryBuilder::new("");
        filter.push_included(&mut query, None, Timestamp::from_micros(0));
        filter.push_excluded(&mut query, Timestamp::from_micros(0));
        query.sql().as_str().to_owned()
    }

    #[test]
    fn each_key_of_a_search_is_one_condition() {
        assert_eq!(sql("", None), "");
        assert_eq!(
            sql("actor:cli:* actor:api -action:session.open pump-1 since:1h", Some("acme")),
            " AND tenant_id = $1 AND ((actor ~>=~ $2 AND actor ~<~ $3) OR actor = $4) \
             AND (device_id = $5) AND (at >= $6) AND (action = $7) IS NOT TRUE"
        );
        let error = AuditFilter::read(Some("colour:red"), None).unwrap_err().to_string();
        assert!(error.contains("actor, action, tenant, device, since, until"), "{error}");
    }

    #[test]
    fn a_position_reads_back_as_it_was_written() {
        let place = AuditCursor { at: Timestamp::from_micros(1_795_000_000_123_456), id: 7 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "5", "5-", "-7", "a-7", "7-a"] {
            assert_eq!(wrong.parse::<AuditCursor>(), Err(InvalidAuditCursor), "{wrong}");
        }
    }
}
