//! The nouns and nothing else: identities, topics, messages, verdicts, and the narrow ports between wings.
//!
//! Nothing here does IO, knows a runtime, or reads a clock.

pub mod batch;
pub mod change;
pub mod clocks;
pub mod device;
pub mod finding;
pub mod ids;
pub mod login;
pub mod message;
pub mod ports;
pub mod probe;
pub mod redact;
pub mod sampling;
pub mod subscription;
pub mod time;
pub mod topic;
pub mod verdict;
