//! Walks the tree of a policy file: what shape a value must have, and a note of each that has another.
//!
//! It knows no rule and no permission.

use std::fmt;

use super::file_tree::{Node, PolicyFault, TableEntries};

/// How many errors are told of at a time; the rest is counted.
const MAX_FAULTS: usize = 50;

/// Everything that is wrong with the text of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    told: Vec<PolicyFault>,
    more: usize,
}

/// Asks each value for its shape.
#[derive(Default)]
pub(super) struct Walk {
    pub faults: Faults,
}

// === impl Faults ===

impl Faults {
    pub(super) fn add(&mut self, fault: PolicyFault) {
        if self.told.len() < MAX_FAULTS { self.told.push(fault) } else { self.more += 1 }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Those that are told of.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyFault> {
        self.told.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> = self.told.iter().map(ToString::to_string).collect();
        f.write_str(&told.join("\n"))?;
        if self.more == 0 { Ok(()) } else { write!(f, "\nand {} more", self.more) }
    }
}

// === impl Walk ===

impl Walk {
    pub(super) fn fault(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.faults.add(PolicyFault { place: place.into(), why: why.into() });
    }

    pub(super) fn table<'n>(&mut self, place: &str, node: &'n Node) -> Option<&'n TableEntries> {
        if let Node::Table(entries) = node {
            return Some(entries);
        }
        self.fault(place, format!("expected a table, found {}", node.kind()));
        None
    }

    pub(super) fn list<'n>(&mut self, place: &str, node: &'n Node) -> Option<&'n [Node]> {
        if let Node::List(items) = node {
            return Some(items);
        }
        self.fault(place, format!("expected a list, found {}", node.kind()));
        None
    }

    /// A list of texts, each with its place.
    pub(super) fn texts(&mut self, place: &str, node: &Node) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for (index, item) in self.list(place, node).unwrap_or_default().iter().enumerate() {
            let place = format!("{place}[{index}]");
            match item {
                Node::Text(text) => texts.push((place, text.clone())),
                other => self.fault(place, format!("expected a text, found {}", other.kind())),
            }
        }
        texts
    }

    /// A list of texts; none when it is, or holds, `"*"`: any.
    pub(super) fn choice(&mut self, place: &str, node: &Node) -> Option<Vec<(String, String)>> {
        if let Node::Text(text) = node {
            if text != "*" {
                self.fault(place, "expected a list, or \"*\"");
            }
            return None;
        }
        let texts = self.texts(place, node);
        if texts.iter().any(|(_, text)| text == "*") { None } else { Some(texts) }
    }

    pub(super) fn needed<'n>(&mut self, entries: &'n TableEntries, place: &str, key: &str) -> Option<&'n Node> {
        let node = get(entries, key);
        if node.is_none() {
            self.fault(place, format!("{key} is missing"));
        }
        node
    }

    pub(super) fn only(&mut self, entries: &TableEntries, place: &str, known: &[&str]) {
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            self.fault(key_path(place, key), format!("there is no such key here; there are {}", known.join(", ")));
        }
    }
}

// --- private helpers ---

pub(super) fn get<'n>(entries: &'n TableEntries, key: &str) -> Option<&'n Node> {
    entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
}

/// A key below a place; one that is no plain word is quoted, so that nothing of it reaches a terminal raw.
pub(super) fn key_path(place: &str, key: &str) -> String {
    let is_plain =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    match (place, is_plain) {
        ("", true) => key.to_owned(),
        ("", false) => format!("{key:?}"),
        (place, true) => format!("{place}.{key}"),
        (place, false) => format!("{place}.{key:?}"),
    }
}
