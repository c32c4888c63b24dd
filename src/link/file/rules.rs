//! Reads the rules of a link: what it publishes, and what it takes in.

use super::fields::LinkFields;
use super::keys::{self, LinkKey};
use super::names::{self, NamedPart};
use crate::config::document::tree::Node;
use crate::domain::forwarding::ForwardRule;
use crate::domain::link::ForwardMode;
use crate::link::kind::LinkKind;
use crate::link::limits::LinkLimits;
use crate::link::settings::{IngestName, IngestRule};

/// The most rules of `publish`: each accepted message is compared with all of them.
pub const MAX_PUBLISH_RULES: usize = 64;

const MODES: [(&str, ForwardMode); 3] = [
    ("binary", ForwardMode::Binary),
    ("structured", ForwardMode::Structured),
    ("raw", ForwardMode::Raw),
];

/// The message type of an ingest rule that names none.
const TYPE: &str = "telemetry";

/// Reads `publish`.
pub(super) fn publish(
    fields: &mut LinkFields<'_, '_>,
    kind: LinkKind,
    limits: &LinkLimits,
    public_prefix: Option<&str>,
) -> Vec<ForwardRule> {
    let because = "each accepted message is compared with all of them";
    each(fields, "publish", (MAX_PUBLISH_RULES, because), keys::PUBLISH, |rule| {
        rule.require("from", "the filter of local topics");
        rule.require("to", "the topic at the other broker");
        let from = rule.text("from");
        let from = from.and_then(|text| or_fault(rule, "from", names::local_filter(text)));
        let to = rule.text("to").and_then(|text| {
            let to = names::remote_topic(text, kind, limits, from.as_deref(), public_prefix);
            or_fault(rule, "to", to)
        });
        let mode = rule.choice("mode", &MODES).unwrap_or(ForwardMode::Binary);
        Some(ForwardRule { from: from?, to: to?, mode })
    })
}

/// Reads `ingest`.
pub(super) fn ingest(
    fields: &mut LinkFields<'_, '_>,
    kind: LinkKind,
    limits: &LinkLimits,
    public_prefix: Option<&str>,
) -> Vec<IngestRule> {
    let because = format!("{} allows that many filters", kind.label());
    each(fields, "ingest", (limits.filters, &because), keys::INGEST, |rule| {
        rule.require("filter", "the topic filter at the other broker");
        rule.require("tenant", "the tenant of the messages, such as \"acme\" or \"{1}\"");
        rule.require("device", "the device of the messages, such as \"{2}\"");
        let filter = rule.text("filter").filter(|text| {
            let checked = names::remote_filter(text, kind, limits, public_prefix);
            or_fault(rule, "filter", checked).is_some()
        });
        let tenant = name(rule, "tenant", filter, NamedPart::Tenant);
        let device = name(rule, "device", filter, NamedPart::Device);
        let msg_type = if rule.has("type") {
            name(rule, "type", filter, NamedPart::Type)
        } else {
            names::ingest_name(TYPE, None, NamedPart::Type).ok()
        };
        let lenient = rule.switch("lenient").unwrap_or(false);
        Some(IngestRule {
            filter: filter?.to_owned(),
            tenant: tenant?,
            device: device?,
            msg_type: msg_type?,
            lenient,
        })
    })
}

// --- private helpers ---

/// Reads each table of a list.
fn each<T>(
    fields: &mut LinkFields<'_, '_>,
    key: &str,
    (most, because): (usize, &str),
    known: &[LinkKey],
    mut read: impl FnMut(&mut LinkFields<'_, '_>) -> Option<T>,
) -> Vec<T> {
    let Some(node) = fields.get(key) else { return Vec::new() };
    let place = fields.path_of(key);
    let items = fields.values.list(&place, node).unwrap_or_default();
    if items.len() > most {
        let why = format!("the list has {} rules; at most {most}: {because}", items.len());
        fields.fault(key, why);
        return Vec::new();
    }
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        rules.extend(one(fields, format!("{place}[{index}]"), item, known, &mut read));
    }
    rules
}

fn one<T>(
    fields: &mut LinkFields<'_, '_>,
    place: String,
    item: &Node,
    known: &[LinkKey],
    read: &mut impl FnMut(&mut LinkFields<'_, '_>) -> Option<T>,
) -> Option<T> {
    let entries = fields.values.table(&place, item)?;
    fields.values.reject_unknown_keys(entries, &place, &keys::names(known));
    read(&mut LinkFields { values: fields.values, entries, place })
}

fn name(
    rule: &mut LinkFields<'_, '_>,
    key: &str,
    filter: Option<&str>,
    part: NamedPart,
) -> Option<IngestName> {
    let text = rule.text(key)?;
    or_fault(rule, key, names::ingest_name(text, filter, part))
}

fn or_fault<T>(fields: &mut LinkFields<'_, '_>, key: &str, result: Result<T, String>) -> Option<T> {
    result.map_err(|why| fields.fault(key, why)).ok()
}
