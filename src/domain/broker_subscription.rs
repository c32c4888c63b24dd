//! What is remembered of the session at the broker from one run to the next: it outlives the process and its settings.

use super::time::Timestamp;

/// The session as it was left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionMemory {
    /// Where and when it was subscribed last; none: never, as far as is known.
    pub subscribed: Option<Subscribed>,
    /// All that the broker may hold for it: also filters of former settings, until it has given them up.
    pub filters: Vec<String>,
}

/// A subscription that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The broker, as `host:port`.
    pub broker: String,
    /// When it last was, and all that the broker had was read.
    pub at: Timestamp,
}
