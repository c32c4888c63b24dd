//! What is broken in an event: each fault names the attribute.
//!
//! It quotes names of attributes, cut short, and no value.

use super::nodes::NodesFault;

/// Longest name that a text quotes, in characters.
const QUOTED: usize = 40;

/// Why a message is no valid event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// A batch of events.
    #[error(
        "the content type is a batch of events; MQTT has no batch mode: send one event in a message"
    )]
    Batch,
    /// An event in another format than JSON.
    #[error("the content type is no JSON event: use application/cloudevents+json")]
    Format,
    /// The body is no JSON object.
    #[error("the event is not a JSON object: {0}")]
    NotAnObject(String),
    /// A required attribute is missing.
    #[error("the attribute {0} is missing")]
    Missing(&'static str),
    /// A required attribute is empty.
    #[error("the attribute {0} is empty")]
    Empty(&'static str),
    /// An attribute is no text.
    #[error("the attribute {0} is not a text")]
    NotText(String),
    /// A name that no attribute may have.
    #[error("the attribute {0} has an invalid name: a name has only a-z and 0-9")]
    Name(String),
    /// An attribute is given twice.
    #[error("the attribute {0} is given twice")]
    Twice(String),
    /// Another version.
    #[error("the attribute specversion is not 1.0")]
    Version,
    /// The time is not RFC 3339, or Postgres has no such year.
    #[error("the attribute time is not RFC 3339 of the years 1 to 9999 (2026-02-03T12:00:00Z)")]
    Time,
    /// Both forms of data.
    #[error("the event has both data and data_base64")]
    TwoData,
    /// The data is something else than a JSON object.
    #[error("{member} is {found}; a JSON object is expected")]
    Data {
        /// `data` or `data_base64`.
        member: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// The nodes are not readable.
    #[error(transparent)]
    Nodes(#[from] NodesFault),
}

/// A name as it may stand in a text.
pub(crate) fn quoted(name: &str) -> String {
    let mut text: String =
        name.chars().take(QUOTED).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() < name.len() {
        text.push_str("...");
    }
    text
}
