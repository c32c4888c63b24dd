//! What is stored about the session at the broker, which outlives the process and its settings.
//!
//! It talks to no broker.

use super::time::Timestamp;

/// The session as the last run left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionMemory {
    /// Last known subscription; `None` means unknown.
    pub subscribed: Option<Subscribed>,
    /// All filters that the broker may have, including those of former settings until it removes
    /// them.
    pub filters: Vec<String>,
}

/// A granted subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The broker, as `host:port`.
    pub broker: String,
    /// When it was last granted and all waiting messages were read.
    pub at: Timestamp,
}
