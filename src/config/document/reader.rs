//! Checks the types of the values in a file, and collects a fault for each wrong one.
//!
//! It knows no key: the file's own module does.

use std::fmt;

use super::tree::{DocumentFault, Node, TableEntries};
use crate::config::nearest::nearest;

/// The most faults listed in one report; the others are only counted.
const MAX_FAULTS: usize = 50;

/// The faults of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The first ones, in the order of their discovery.
    pub listed: Vec<DocumentFault>,
    unlisted: usize,
}

/// Reads values of an expected type, and collects the faults.
#[derive(Default)]
pub(crate) struct ValueReader {
    pub faults: Faults,
}

// === impl Faults ===

impl Faults {
    pub(crate) fn add(&mut self, fault: DocumentFault) {
        if self.listed.len() < MAX_FAULTS { self.listed.push(fault) } else { self.unlisted += 1 }
    }

    /// How many there are, the unlisted ones too.
    pub fn count(&self) -> usize {
        self.listed.len() + self.unlisted
    }

    /// Whether there are no faults.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: Vec<_> = self.listed.iter().map(ToString::to_string).collect();
        f.write_str(&listed.join("\n"))?;
        if self.unlisted == 0 { Ok(()) } else { write!(f, "\nand {} more", self.unlisted) }
    }
}

// === impl ValueReader ===

impl ValueReader {
    pub(crate) fn fault(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.faults.add(DocumentFault { place: place.into(), why: why.into() });
    }

    pub(crate) fn table<'n>(&mut self, place: &str, node: &'n Node) -> Option<&'n TableEntries> {
        if let Node::Table(entries) = node {
            return Some(entries);
        }
        self.fault(place, format!("expected a table, found {}", node.kind()));
        None
    }

    pub(crate) fn list<'n>(&mut self, place: &str, node: &'n Node) -> Option<&'n [Node]> {
        if let Node::List(items) = node {
            return Some(items);
        }
        self.fault(place, format!("expected a list, found {}", node.kind()));
        None
    }

    pub(crate) fn text<'n>(&mut self, place: &str, node: &'n Node) -> Option<&'n str> {
        if let Node::Text(text) = node {
            return Some(text);
        }
        self.fault(place, format!("expected a text, found {}", node.kind()));
        None
    }

    pub(crate) fn switch(&mut self, place: &str, node: &Node) -> Option<bool> {
        if let Node::Switch(value) = node {
            return Some(*value);
        }
        self.fault(place, format!("expected true or false, found {}", node.kind()));
        None
    }

    /// Reads a list of texts, each with its place.
    pub(crate) fn texts(&mut self, place: &str, node: &Node) -> Vec<(String, String)> {
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

    /// Reads a list of texts. `None` means any: the value is or contains `"*"`.
    pub(crate) fn choice(&mut self, place: &str, node: &Node) -> Option<Vec<(String, String)>> {
        if let Node::Text(text) = node {
            if text != "*" {
                self.fault(place, "expected a list, or \"*\"");
            }
            return None;
        }
        let texts = self.texts(place, node);
        if texts.iter().any(|(_, text)| text == "*") { None } else { Some(texts) }
    }

    pub(crate) fn required<'n>(
        &mut self,
        entries: &'n TableEntries,
        place: &str,
        key: &str,
    ) -> Option<&'n Node> {
        let node = get(entries, key);
        if node.is_none() {
            self.fault(place, format!("{key} is missing"));
        }
        node
    }

    pub(crate) fn reject_unknown_keys(
        &mut self,
        entries: &TableEntries,
        place: &str,
        known: &[&str],
    ) {
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let hint = nearest(key.as_str(), known.iter().copied())
                .map_or_else(String::new, |name| format!("; did you mean {name}?"));
            self.fault(
                key_path(place, key),
                format!("the key is unknown here; expected {}{hint}", known.join(", ")),
            );
        }
    }
}

// --- keys and paths ---

pub(crate) fn get<'n>(entries: &'n TableEntries, key: &str) -> Option<&'n Node> {
    entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
}

/// The path of `key` below `place`. A key that is not a plain word is quoted, so that no control
/// character reaches a terminal.
pub(crate) fn key_path(place: &str, key: &str) -> String {
    let is_plain = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    match (place, is_plain) {
        ("", true) => key.to_owned(),
        ("", false) => format!("{key:?}"),
        (place, true) => format!("{place}.{key}"),
        (place, false) => format!("{place}.{key:?}"),
    }
}
