//! CloudEvents 1.0 over MQTT: a forwarded message becomes an event, and a received message is read as
//! one.
//!
//! In reading order: [`write`] makes the three forms of a forwarded message, [`read`] reads both modes
//! of an event, [`fields`] the fields of a JSON event, [`fault`] names what is broken, [`nodes`] the
//! installations that a message has passed.
//!
//! It opens no connection and decides nothing about the message itself.

pub mod fault;
pub(crate) mod fields;
pub mod nodes;
pub mod read;
#[cfg(test)]
mod tests;
pub mod write;

/// The version of CloudEvents.
pub(crate) const SPEC_VERSION: &str = "1.0";

/// The attributes that every event has.
pub(crate) const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Content types that begin with this are events in structured mode.
pub(crate) const STRUCTURED: &str = "application/cloudevents";

/// The Content Type of an event as JSON.
pub(crate) const STRUCTURED_JSON: &str = "application/cloudevents+json; charset=utf-8";

/// The Content Type of every other forwarded message.
pub(crate) const JSON: &str = "application/json";
