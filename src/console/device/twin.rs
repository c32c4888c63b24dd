//! The twin as rows: each member of the desired and of the reported document, and whether they
//! differ. The comparison itself is the API's.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::console::filters::shortened;
use crate::http::ShadowView;

/// Most members on the page.
const MEMBERS_MAX: usize = 60;

/// Most characters of a value.
const VALUE_CHARS: usize = 120;

/// A member of the documents.
pub(super) struct TwinMember {
    pub name: String,
    pub reported: Option<String>,
    pub desired: Option<String>,
    pub differs: bool,
}

/// The members, those that differ first.
pub(super) fn members(shadow: &ShadowView) -> Vec<TwinMember> {
    let desired = object(shadow.desired.as_deref());
    let reported = object(shadow.reported.as_deref());
    let delta = object(Some(&shadow.delta));
    let names: BTreeSet<&String> = desired.keys().chain(reported.keys()).collect();
    let mut members: Vec<TwinMember> = names
        .into_iter()
        .map(|name| TwinMember {
            name: shortened(name, VALUE_CHARS).into_owned(),
            reported: reported.get(name).map(text),
            desired: desired.get(name).map(text),
            differs: delta.contains_key(name),
        })
        .collect();
    members.sort_by_key(|member| !member.differs);
    members.truncate(MEMBERS_MAX);
    members
}

// === private helpers ===

fn object(document: Option<&RawValue>) -> Map<String, Value> {
    document.and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    shortened(&text, VALUE_CHARS).into_owned()
}
