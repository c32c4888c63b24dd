//! A file, JSON or TOML, as one tree of values; and the fault that names a place in it.
//!
//! It does not interpret the values. A duplicate key is an error, because it would be unclear which
//! value applies.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// One fault of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct DocumentFault {
    /// The place: a line and column, or a path such as `rules[3].topics[0]`.
    pub place: String,
    /// What is wrong, and what is expected.
    pub why: String,
}

/// One value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Table(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Whole(i128),
    Real(f64),
    Switch(bool),
    /// A type that no file uses, in words.
    Other(&'static str),
}

/// The only key of the table that the TOML parser makes of a date.
const TOML_DATE: &str = "$__toml_private_datetime";

/// The keys of a table, in the order of the file.
pub(crate) type TableEntries = [(String, Node)];

// === impl Node ===

impl Node {
    /// Reads JSON.
    pub(crate) fn of_json(text: &str) -> Result<Self, DocumentFault> {
        serde_json::from_str(text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            // serde_json appends the place, which is already known.
            let message = error.to_string();
            let why = message.rsplit_once(" at line ").map_or(message.as_str(), |(why, _)| why);
            DocumentFault { place, why: format!("not JSON: {why}") }
        })
    }

    /// Reads TOML.
    pub(crate) fn of_toml(text: &str) -> Result<Self, DocumentFault> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let why = error.message().lines().collect::<Vec<_>>().join(", ");
            DocumentFault {
                place: format!("line {line}, column {column}"),
                why: format!("not TOML: {why}"),
            }
        })
    }

    /// The value as JSON; `None` if it holds something that JSON has not.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        use serde_json::{Map, Number, Value};
        Some(match self {
            Self::Table(entries) => {
                let members =
                    entries.iter().map(|(key, node)| Some((key.clone(), node.to_json()?)));
                Value::Object(members.collect::<Option<Map<_, _>>>()?)
            }
            Self::List(items) => {
                Value::Array(items.iter().map(Self::to_json).collect::<Option<_>>()?)
            }
            Self::Text(text) => Value::String(text.clone()),
            Self::Whole(number) => Value::Number(Number::from_i128(*number)?),
            Self::Real(number) => Value::Number(Number::from_f64(*number)?),
            Self::Switch(value) => Value::Bool(*value),
            Self::Other(_) => return None,
        })
    }

    /// The type in words, for a fault that expected another one.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::List(_) => "a list",
            Self::Text(_) => "a text",
            Self::Whole(_) => "a number",
            Self::Real(_) => "a number with a fraction",
            Self::Switch(_) => "true or false",
            Self::Other(kind) => kind,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TableReader)
    }
}

struct TableReader;

// === impl TableReader ===

impl<'de> Visitor<'de> for TableReader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Switch(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Whole(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Whole(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Real(number))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = table.next_key::<String>()? {
            if key == TOML_DATE {
                table.next_value::<Node>()?;
                return Ok(Node::Other("a date"));
            }
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {key:?} is repeated")));
            }
            entries.push((key, table.next_value()?));
        }
        Ok(Node::Table(entries))
    }
}
