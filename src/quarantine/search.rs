//! The search of refused messages: its keys, and the filter that it means.
//!
//! It runs no query and reads no clock.

use crate::domain::refusal::Reason;
use crate::domain::search::{Accepts, Search, SearchError, SearchKey, SearchKeys, SearchValue};
use crate::domain::time::Timestamp;
use crate::store::quarantine::filter::{EventColumn, EventCondition, EventValue, QuarantineFilter};

/// The keys of a search of refused messages.
pub const QUARANTINE_KEYS: SearchKeys = SearchKeys {
    keys: &[
        SearchKey { name: "tenant", accepts: Accepts::Text, help: "the tenant in the topic" },
        SearchKey { name: "device", accepts: Accepts::Text, help: "the device in the topic" },
        SearchKey {
            name: "reason",
            accepts: Accepts::Words(reasons),
            help: "the reason of the refusal",
        },
        SearchKey { name: "site", accepts: Accepts::Text, help: "the site of the device" },
        SearchKey {
            name: "link",
            accepts: Accepts::Text,
            help: "the link that the message came from",
        },
        SearchKey { name: "topic", accepts: Accepts::Text, help: "the topic" },
        SearchKey { name: "id", accepts: Accepts::Text, help: "the identifier of the event" },
        SearchKey {
            name: "since",
            accepts: Accepts::Time,
            help: "quarantined at this time or later",
        },
        SearchKey { name: "until", accepts: Accepts::Time, help: "quarantined before this time" },
        SearchKey {
            name: "replayed",
            accepts: Accepts::Words(|| vec!["yes", "no"]),
            help: "whether a replay has accepted the message",
        },
    ],
    bare: "device",
};

/// The filter of a search text at this time, and the search.
pub fn read_search(text: &str, now: Timestamp) -> Result<(QuarantineFilter, Search), SearchError> {
    let search = Search::read(text, &QUARANTINE_KEYS)?;
    Ok((filter_of(&search, now), search))
}

/// Narrows a filter by a search.
pub fn narrowed(filter: QuarantineFilter, by: QuarantineFilter) -> QuarantineFilter {
    let QuarantineFilter {
        ids,
        tenant,
        device,
        reason,
        link,
        since,
        until,
        replayed,
        mut conditions,
    } = by;
    let mut filter = filter;
    match (filter.ids.is_empty(), ids.is_empty()) {
        (true, _) => filter.ids = ids,
        (false, true) => {}
        (false, false) => {
            filter.ids.retain(|id| ids.contains(id));
            conditions.extend(filter.ids.is_empty().then(nothing));
        }
    }
    narrow_text(&mut filter.tenant, tenant, EventColumn::Tenant, &mut conditions);
    narrow_text(&mut filter.device, device, EventColumn::Device, &mut conditions);
    match (filter.reason, reason) {
        (None, reason) => filter.reason = reason,
        (Some(one), Some(other)) if one != other => {
            conditions.push(one_of(EventColumn::Reason, EventValue::Exact(other.label().into())));
        }
        _ => {}
    }
    match (&filter.link, link) {
        (None, link) => filter.link = link,
        (Some(one), Some(other)) if *one != other => {
            let value = EventValue::Exact(other.to_string());
            conditions.push(one_of(EventColumn::Link, value));
        }
        _ => {}
    }
    filter.since = filter.since.max(since);
    filter.until = [filter.until, until].into_iter().flatten().min();
    match (filter.replayed, replayed) {
        (Some(one), Some(other)) if one != other => conditions.push(nothing()),
        (one, other) => filter.replayed = one.or(other),
    }
    filter.conditions.extend(conditions);
    filter
}

/// The search that selects what a filter of simple fields selects, for people.
pub fn as_search(filter: &QuarantineFilter, search: &str) -> String {
    let mut terms: Vec<String> = Vec::new();
    let mut add = |key: &str, value: Option<String>| {
        terms.extend(value.map(|value| format!("{key}:{value}")));
    };
    add("tenant", filter.tenant.as_ref().map(|text| quoted(text)));
    add("device", filter.device.as_ref().map(|text| quoted(text)));
    add("reason", filter.reason.map(|reason| reason.label().to_owned()));
    add("link", filter.link.as_ref().map(ToString::to_string));
    add("since", filter.since.map(|time| time.to_string()));
    add("until", filter.until.map(|time| time.to_string()));
    add("replayed", filter.replayed.map(|is| if is { "yes" } else { "no" }.to_owned()));
    for id in &filter.ids {
        add("id", Some(id.to_string()));
    }
    // What a field says already is not repeated.
    let said = |key: &str| terms.iter().any(|term| term.split(':').next() == Some(key));
    let rest = Search::read(search, &QUARANTINE_KEYS).unwrap_or_default();
    let rest = rest.terms().iter().filter(|term| term.is_negated || !said(term.key));
    let rest: Vec<String> = rest.map(ToString::to_string).collect();
    terms.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

// === private helpers ===

fn reasons() -> Vec<&'static str> {
    Reason::ALL.map(Reason::label).to_vec()
}

fn filter_of(search: &Search, now: Timestamp) -> QuarantineFilter {
    let mut filter = QuarantineFilter::default();
    for (key, included, excluded) in search.groups() {
        match key {
            "since" => {
                let bounds = included.iter().filter_map(|value| time(value, now));
                filter.since = bounds.max();
                let bounds = excluded.iter().filter_map(|value| time(value, now));
                filter.until = filter.until.into_iter().chain(bounds).min();
            }
            "until" => {
                let bounds = included.iter().filter_map(|value| time(value, now));
                filter.until = filter.until.into_iter().chain(bounds).min();
                let bounds = excluded.iter().filter_map(|value| time(value, now));
                filter.since = filter.since.into_iter().chain(bounds).max();
            }
            "replayed" => read_replayed(&mut filter, &included, &excluded),
            _ => read_column(&mut filter, key, &included, &excluded),
        }
    }
    filter
}

fn read_replayed(
    filter: &mut QuarantineFilter,
    included: &[&SearchValue],
    excluded: &[&SearchValue],
) {
    let is_yes = |value: &&SearchValue| matches!(value, SearchValue::Word("yes"));
    let (yes, no) = (included.iter().any(is_yes), included.iter().any(|value| !is_yes(value)));
    let may_be_yes = (yes || included.is_empty()) && !excluded.iter().any(is_yes);
    let may_be_no = (no || included.is_empty()) && !excluded.iter().any(|value| !is_yes(value));
    match (may_be_yes, may_be_no) {
        (true, true) => {}
        (true, false) => filter.replayed = Some(true),
        (false, true) => filter.replayed = Some(false),
        (false, false) => filter.conditions.push(nothing()),
    }
}

/// One exact value goes into the field that an index serves, anything else into a condition.
fn read_column(
    filter: &mut QuarantineFilter,
    key: &str,
    included: &[&SearchValue],
    excluded: &[&SearchValue],
) {
    let column = match key {
        "tenant" => EventColumn::Tenant,
        "device" => EventColumn::Device,
        "reason" => EventColumn::Reason,
        "site" => EventColumn::Site,
        "link" => EventColumn::Link,
        "topic" => EventColumn::Topic,
        _ => EventColumn::Id,
    };
    match (column, included) {
        (_, []) => {}
        (EventColumn::Tenant, [SearchValue::Exact(text)]) => filter.tenant = Some(text.clone()),
        (EventColumn::Device, [SearchValue::Exact(text)]) => filter.device = Some(text.clone()),
        (EventColumn::Reason, [SearchValue::Word(label)]) => {
            filter.reason = Reason::from_label(label);
        }
        (EventColumn::Id, ids) if ids.iter().all(|id| identifier(id).is_some()) => {
            filter.ids = ids.iter().filter_map(|id| identifier(id)).collect();
        }
        (column, included) => filter.conditions.push(condition(column, false, included)),
    }
    if !excluded.is_empty() {
        filter.conditions.push(condition(column, true, excluded));
    }
}

fn identifier(value: &SearchValue) -> Option<uuid::Uuid> {
    match value {
        SearchValue::Exact(text) => uuid::Uuid::try_parse(text).ok(),
        _ => None,
    }
}

fn condition(column: EventColumn, is_negated: bool, values: &[&SearchValue]) -> EventCondition {
    let values = values.iter().filter_map(|value| match value {
        SearchValue::Exact(text) => Some(EventValue::Exact(text.clone())),
        SearchValue::Prefix(text) => Some(EventValue::Prefix(text.clone())),
        SearchValue::Word(word) => Some(EventValue::Exact((*word).to_owned())),
        _ => None,
    });
    EventCondition { column, is_negated, values: values.collect() }
}

fn one_of(column: EventColumn, value: EventValue) -> EventCondition {
    EventCondition { column, is_negated: false, values: vec![value] }
}

/// No value matches.
const fn nothing() -> EventCondition {
    EventCondition { column: EventColumn::Reason, is_negated: false, values: Vec::new() }
}

fn narrow_text(
    field: &mut Option<String>,
    by: Option<String>,
    column: EventColumn,
    conditions: &mut Vec<EventCondition>,
) {
    match (field.as_deref(), by) {
        (None, by) => *field = by,
        (Some(one), Some(other)) if one != other => {
            conditions.push(one_of(column, EventValue::Exact(other)));
        }
        _ => {}
    }
}

fn time(value: &SearchValue, now: Timestamp) -> Option<Timestamp> {
    match value {
        SearchValue::Time(bound) => Some(bound.at(now)),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    SearchValue::Exact(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

    fn read(text: &str) -> QuarantineFilter {
        read_search(text, NOW).unwrap().0
    }

    #[test]
    fn one_value_of_a_key_is_a_field_and_more_are_a_condition() {
        let filter = read("tenant:acme pump-7 reason:token_invalid replayed:no since:2h");
        let expected = QuarantineFilter {
            tenant: Some("acme".into()),
            device: Some("pump-7".into()),
            reason: Some(Reason::TokenInvalid),
            since: Some(NOW.plus_seconds(-7_200)),
            replayed: Some(false),
            ..QuarantineFilter::default()
        };
        assert_eq!(filter, expected);
        let filter = read("tenant:acme tenant:zeta -pump-7 pump-* topic:tenant/acme/*");
        assert_eq!(filter.conditions.len(), 4);
        assert_eq!((filter.tenant, filter.device), (None, None));
        assert_eq!(read("replayed:no replayed:yes"), QuarantineFilter::default());
        assert_eq!(read("-replayed:no").replayed, Some(true));
        assert!(read_search("colour:red", NOW).unwrap_err().to_string().contains("topic, id"));
    }

    #[test]
    fn a_search_narrows_the_fields_and_never_widens_them() {
        let of_acme = || QuarantineFilter { tenant: Some("acme".into()), ..read("") };
        assert_eq!(narrowed(of_acme(), read("tenant:acme")), of_acme());
        let other = narrowed(of_acme(), read("tenant:zeta"));
        assert_eq!(other.tenant.as_deref(), Some("acme"));
        assert_eq!(other.conditions.len(), 1, "no event is of both tenants");
        let open = QuarantineFilter { replayed: Some(false), ..read("") };
        assert_eq!(narrowed(open, read("replayed:yes")).conditions, [nothing()]);
        let late = QuarantineFilter { since: Some(NOW), until: Some(NOW), ..read("") };
        let both = narrowed(late, read("since:1h until:2h"));
        assert_eq!((both.since, both.until), (Some(NOW), Some(NOW.plus_seconds(-7_200))));
    }

    #[test]
    fn a_filter_is_said_as_a_search_that_selects_the_same() {
        let (filter, search) = read_search("tenant:acme -pump-7 link:azure since:1h", NOW).unwrap();
        let said = as_search(&filter, &search.to_string());
        assert_eq!(said, "tenant:acme since:2026-11-18T10:06:40.000000Z -device:pump-7 link:azure");
        assert_eq!(read(&said), filter);
    }
}
