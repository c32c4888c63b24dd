//! Requests of operators.

use crate::domain::exchange::{OutgoingMessage, RequestMessage};

/// Answers requests of operators.
#[derive(Debug)]
pub struct OperatorApi {}

// === impl OperatorApi ===

impl OperatorApi {
    /// The response to a request; `None` if there is none.
    #[expect(clippy::unused_async, reason = "the answer of a route is awaited")]
    pub async fn answer(&self, _request: &RequestMessage) -> Option<OutgoingMessage> {
        None
    }

    /// The response to a request that has no place in the queue.
    #[expect(clippy::unused_self, reason = "the limits of each caller are a part of it")]
    pub fn busy(&self, _request: &RequestMessage) -> Option<OutgoingMessage> {
        None
    }
}
