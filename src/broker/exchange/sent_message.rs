//! A message of the exchange that the broker has not answered. When it is dropped with its connection,
//! its outcome is unknown.

use tokio::sync::oneshot;

use crate::broker::transport::unanswered::Unanswered;
use crate::domain::exchange::{ExchangeOutcome, PublishTopic};

/// Most unanswered messages.
pub const WINDOW_MAX: u16 = 100;

/// A message that was sent.
#[derive(Debug)]
pub struct SentMessage {
    /// Its topic.
    pub topic: PublishTopic,
    /// Where its outcome goes; `None` for a try.
    pub outcome: Option<oneshot::Sender<ExchangeOutcome>>,
}

// === impl Unanswered ===

impl Unanswered<SentMessage> {
    /// Number of tries among them.
    pub fn tries(&self) -> usize {
        self.messages().filter(|message| message.outcome.is_none()).count()
    }
}

// === impl SentMessage ===

impl SentMessage {
    /// Reports the outcome to the handle that sent the message, if it still waits.
    pub fn finish(self, outcome: ExchangeOutcome) {
        if let Some(waiting) = self.outcome {
            let _nobody_waits = waiting.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_answer_the_outcome_is_unknown() {
        let (outcome, answer) = oneshot::channel();
        let topic = PublishTopic::new("a").unwrap();
        drop(SentMessage { topic, outcome: Some(outcome) });
        assert!(answer.await.is_err(), "the handle reads this as unknown");
    }
}
