//! The nouns and nothing else: identities, topics, messages, verdicts, and the narrow ports between wings.
//!
//! Nothing here does IO, knows a runtime, or reads a clock.

pub mod batch;
pub mod broker_login;
pub mod broker_subscription;
pub mod clocks;
pub mod device;
pub mod finding;
pub mod ids;
pub mod message;
pub mod ports;
pub mod probe;
pub mod quarantine_sampling;
pub mod redact;
pub mod refusal;
pub mod registry_change;
pub mod time;
pub mod topic;
