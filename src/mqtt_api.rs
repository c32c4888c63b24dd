//! Requests over MQTT: of devices below their own topics, and of operators with the routes of the
//! HTTP API.
//!
//! It holds no rules of its own: each answer comes from the wing that decides. Read it in this order:
//!
//! 1. [`dispatch`] takes requests from the broker and publishes their responses;
//! 2. [`turns`] is the order in which they are answered, fair between their senders;
//! 3. [`devices`] answers devices;
//! 4. [`operators`] answers operators.

pub(crate) mod devices;
pub(crate) mod dispatch;
pub(crate) mod operators;
pub(crate) mod turns;
