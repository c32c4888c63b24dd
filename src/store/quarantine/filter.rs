//! Which events of the quarantine: simple fields, and the conditions of a search.
//!
//! It reads no search text and runs no query. A replay job keeps it as JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::domain::link::LinkName;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::store::quarantine::cursor::QuarantineCursor;

/// Events that a list looks at, if no index serves its conditions.
pub const SCAN_MAX: i64 = 50_000;

/// Which events; all fields unset means all events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    /// One of these; empty means any.
    pub ids: Vec<Uuid>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this device.
    pub device: Option<String>,
    /// Refused for this reason.
    pub reason: Option<Reason>,
    /// Received over this link.
    pub link: Option<LinkName>,
    /// Quarantined at this moment or later.
    pub since: Option<Timestamp>,
    /// Quarantined before this moment.
    pub until: Option<Timestamp>,
    /// Whether it was replayed.
    pub replayed: Option<bool>,
    /// Further conditions; all of them hold.
    pub conditions: Vec<EventCondition>,
}

/// A condition on one column: one of the values, or none of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCondition {
    /// The column.
    pub column: EventColumn,
    /// Whether the event matches none of the values, instead of one.
    pub is_negated: bool,
    /// The values.
    pub values: Vec<EventValue>,
}

/// A column that a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventColumn {
    /// The tenant in the topic.
    Tenant,
    /// The device in the topic.
    Device,
    /// The reason.
    Reason,
    /// The site.
    Site,
    /// The link that it came from.
    Link,
    /// The topic.
    Topic,
    /// The identifier.
    Id,
}

/// What a column contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventValue {
    /// Exactly this.
    Exact(String),
    /// This, and any end.
    Prefix(String),
}

/// The filter as a job keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct StoredFilter {
    ids: Vec<Uuid>,
    tenant: Option<String>,
    device: Option<String>,
    reason: Option<String>,
    link: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    replayed: Option<bool>,
    conditions: Vec<EventCondition>,
}

// === impl QuarantineFilter ===

impl QuarantineFilter {
    /// Whether it selects every event.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the filter to a query, as one boolean.
    pub(in crate::store) fn push_to(&self, query: &mut QueryBuilder<Postgres>) {
        self.push_indexed_to(query);
        self.push_conditions_to(query);
    }

    /// Adds the rows before `before` as the source of a query. With conditions these are the matching
    /// ones of the newest [`SCAN_MAX`] rows.
    pub(in crate::store) fn push_source(
        &self,
        query: &mut QueryBuilder<Postgres>,
        before: Option<QuarantineCursor>,
    ) {
        self.push_ordered(query, before, " < (", " ORDER BY quarantined_at DESC, id DESC LIMIT ");
    }

    /// The same for the rows after `after`, of the oldest.
    pub(in crate::store) fn push_source_after(
        &self,
        query: &mut QueryBuilder<Postgres>,
        after: QuarantineCursor,
    ) {
        self.push_ordered(query, Some(after), " > (", " ORDER BY quarantined_at, id LIMIT ");
    }

    fn push_ordered(
        &self,
        query: &mut QueryBuilder<Postgres>,
        place: Option<QuarantineCursor>,
        side: &str,
        order: &str,
    ) {
        let is_bounded = self.needs_scan();
        query.push(if is_bounded { "(SELECT * FROM " } else { "" });
        query.push("quarantine_events WHERE ");
        self.push_indexed_to(query);
        if let Some(place) = place {
            query.push(" AND (quarantined_at, id)").push(side).push_bind(place.at.to_utc());
            query.push(", ").push_bind(place.id).push(")");
        }
        if is_bounded {
            query.push(order).push_bind(SCAN_MAX).push(") AS scanned WHERE true");
            self.push_conditions_to(query);
        }
    }

    /// Adds the conditions on one column, those of the simple fields included, as one boolean.
    pub(super) fn push_column_to(&self, query: &mut QueryBuilder<Postgres>, column: EventColumn) {
        query.push("(true");
        let field = match column {
            EventColumn::Tenant => self.tenant.clone(),
            EventColumn::Reason => self.reason.map(|reason| reason.label().to_owned()),
            _ => None,
        };
        if let Some(value) = field {
            query.push(" AND ").push(column.sql()).push(" = ").push_bind(value);
        }
        for condition in self.conditions.iter().filter(|condition| condition.column == column) {
            condition.push_to(query);
        }
        query.push(")");
    }

    /// Adds the fields that an index serves.
    fn push_indexed_to(&self, query: &mut QueryBuilder<Postgres>) {
        query.push("true");
        if !self.ids.is_empty() {
            query.push(" AND id = ANY (").push_bind(self.ids.clone()).push(")");
        }
        if let Some(tenant) = &self.tenant {
            query.push(" AND tenant_id = ").push_bind(tenant.clone());
        }
        if let Some(device) = &self.device {
            query.push(" AND device_id = ").push_bind(device.clone());
        }
        if let Some(reason) = self.reason {
            query.push(" AND reason = ").push_bind(reason.label());
        }
        if let Some(since) = self.since {
            query.push(" AND quarantined_at >= ").push_bind(since.to_utc());
        }
        if let Some(until) = self.until {
            query.push(" AND quarantined_at < ").push_bind(until.to_utc());
        }
        match self.replayed {
            Some(true) => query.push(" AND replayed_at IS NOT NULL"),
            Some(false) => query.push(" AND replayed_at IS NULL"),
            None => query,
        };
    }

    /// Whether it has conditions that no index serves.
    pub(in crate::store) fn needs_scan(&self) -> bool {
        !self.conditions.is_empty() || self.link.is_some()
    }

    /// Adds the conditions that no index serves.
    fn push_conditions_to(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(link) = &self.link {
            query.push(" AND link = ").push_bind(link.to_string());
        }
        for condition in &self.conditions {
            condition.push_to(query);
        }
    }

    /// The filter as the detail of an audit entry.
    pub fn describe(&self) -> Value {
        json!({
            "ids": self.ids,
            "reason": self.reason.map(Reason::label),
            "link": self.link.as_ref().map(LinkName::as_str),
            "since": self.since.map(|at| at.to_string()),
            "until": self.until.map(|at| at.to_string()),
            "replayed": self.replayed,
            "conditions": self.conditions,
        })
    }

    /// The filter as a job keeps it.
    pub(super) fn to_json(&self) -> Value {
        let stored = StoredFilter {
            ids: self.ids.clone(),
            tenant: self.tenant.clone(),
            device: self.device.clone(),
            reason: self.reason.map(|reason| reason.label().to_owned()),
            link: self.link.as_ref().map(LinkName::to_string),
            since: self.since.map(Timestamp::micros),
            until: self.until.map(Timestamp::micros),
            replayed: self.replayed,
            conditions: self.conditions.clone(),
        };
        // It holds only strings, numbers and lists, so serialization does not fail.
        serde_json::to_value(stored).unwrap_or_default()
    }

    /// The filter that a job has kept; `None`: another version of Sluice has written it.
    pub(super) fn from_json(stored: Value) -> Option<Self> {
        let stored: StoredFilter = serde_json::from_value(stored).ok()?;
        let reason = match &stored.reason {
            Some(label) => Some(Reason::from_label(label)?),
            None => None,
        };
        let link = match &stored.link {
            Some(link) => Some(link.parse().ok()?),
            None => None,
        };
        Some(Self {
            ids: stored.ids,
            tenant: stored.tenant,
            device: stored.device,
            reason,
            link,
            since: stored.since.map(Timestamp::from_micros),
            until: stored.until.map(Timestamp::from_micros),
            replayed: stored.replayed,
            conditions: stored.conditions,
        })
    }
}

// === impl EventCondition ===

impl EventCondition {
    fn push_to(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(if self.is_negated { " AND NOT coalesce(false" } else { " AND (false" });
        let column = self.column.sql();
        for value in &self.values {
            query.push(" OR ").push(column);
            match value {
                EventValue::Exact(text) => query.push(" = ").push_bind(text.clone()),
                EventValue::Prefix(text) => query.push(" LIKE ").push_bind(like_prefix(text)),
            };
        }
        query.push(if self.is_negated { ", false)" } else { ")" });
    }
}

// === impl EventColumn ===

impl EventColumn {
    const fn sql(self) -> &'static str {
        match self {
            Self::Tenant => "tenant_id",
            Self::Device => "device_id",
            Self::Reason => "reason",
            Self::Site => "site_id",
            Self::Link => "link",
            Self::Topic => "topic",
            Self::Id => "id::text",
        }
    }
}

// === private helpers ===

/// The pattern of a beginning, in which no character is a wildcard.
fn like_prefix(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_reads_the_filter_that_it_was_given() {
        let filter = QuarantineFilter {
            ids: vec![Uuid::from_u128(7)],
            tenant: Some("acme".into()),
            device: None,
            reason: Some(Reason::BadPayload),
            link: Some("azure".parse().unwrap()),
            since: Some(Timestamp::from_micros(5)),
            until: Some(Timestamp::from_micros(9)),
            replayed: Some(false),
            conditions: vec![EventCondition {
                column: EventColumn::Topic,
                is_negated: true,
                values: vec![EventValue::Prefix("a".into()), EventValue::Exact("b".into())],
            }],
        };
        assert_eq!(QuarantineFilter::from_json(filter.to_json()), Some(filter));
        assert_eq!(QuarantineFilter::from_json(json!({ "reason": "NEW" })), None);
    }

    #[test]
    fn a_beginning_holds_no_wildcard() {
        assert_eq!(like_prefix(r"a%b_c\d"), r"a\%b\_c\\d%");
    }
}
