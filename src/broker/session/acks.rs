//! Channel of acknowledgement tokens, from the writer to the session.
//!
//! It does not check whether a token is still valid; the session does.

use tokio::sync::mpsc;

use crate::domain::message::AckToken;
use crate::domain::ports::Acknowledge;

/// Sends tokens to the session.
#[derive(Clone, Debug)]
pub struct Acks(pub mpsc::Sender<Vec<AckToken>>);

// === impl Acks ===

impl Acknowledge for Acks {
    /// A closed channel means that the session has ended: the tokens are void, and the broker
    /// redelivers.
    async fn acknowledge(&self, tokens: Vec<AckToken>) {
        if !tokens.is_empty() {
            let _void_when_closed = self.0.send(tokens).await;
        }
    }
}
