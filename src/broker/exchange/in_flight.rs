//! Published messages that the broker has not answered, by packet identifier.
//!
//! When it is dropped with its connection, the outcome of each is unknown.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::exchange::{ExchangeOutcome, PublishTopic};

/// Most unanswered messages.
const WINDOW_MAX: u16 = 100;

/// The lowest packet identifier; those below belong to SUBSCRIBE.
const FIRST_ID: u16 = 1024;

/// Messages of one connection that the broker has not answered.
#[derive(Debug)]
pub struct Unanswered {
    window: usize,
    last_id: u16,
    sent: BTreeMap<u16, SentMessage>,
}

/// A message that was sent.
#[derive(Debug)]
pub struct SentMessage {
    /// Its topic.
    pub topic: PublishTopic,
    /// Where its outcome goes; `None` for a try.
    pub outcome: Option<oneshot::Sender<ExchangeOutcome>>,
    /// When it was sent.
    pub sent_at: Instant,
}

// === impl Unanswered ===

impl Unanswered {
    /// None yet, and at most as many as the broker accepts.
    pub fn new(receive_maximum: Option<u16>) -> Self {
        let window = receive_maximum.unwrap_or(WINDOW_MAX).clamp(1, WINDOW_MAX);
        Self { window: window.into(), last_id: FIRST_ID - 1, sent: BTreeMap::new() }
    }

    /// Whether another message may be sent.
    pub fn has_room(&self) -> bool {
        self.sent.len() < self.window
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// A free packet identifier.
    pub fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(FIRST_ID);
            if !self.sent.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Records a message that is sent with this packet identifier.
    pub fn record_sent(&mut self, packet_id: u16, message: SentMessage) {
        self.sent.insert(packet_id, message);
    }

    /// The message that the broker has answered; `None` if there is none with this identifier.
    pub fn answered(&mut self, packet_id: u16) -> Option<SentMessage> {
        self.sent.remove(&packet_id)
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.sent.values().map(|message| message.sent_at).min()
    }

    /// Number of tries among them.
    pub fn tries(&self) -> usize {
        self.sent.values().filter(|message| message.outcome.is_none()).count()
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

    fn message() -> SentMessage {
        let topic = PublishTopic::new("a").unwrap();
        SentMessage { topic, outcome: None, sent_at: Instant::now() }
    }

    #[test]
    fn the_window_is_the_brokers_or_a_hundred_and_never_zero() {
        for (announced, window) in [(None, 100), (Some(20), 20), (Some(65_535), 100), (Some(0), 1)]
        {
            let mut unanswered = Unanswered::new(announced);
            while unanswered.has_room() {
                let packet_id = unanswered.next_id();
                unanswered.record_sent(packet_id, message());
            }
            assert_eq!(unanswered.len(), window);
        }
    }

    #[test]
    fn no_identifier_is_used_twice_at_a_time_nor_belongs_to_a_subscribe() {
        let mut unanswered = Unanswered::new(Some(3));
        let kept = unanswered.next_id();
        unanswered.record_sent(kept, message());
        for _ in 0..200_000 {
            let packet_id = unanswered.next_id();
            assert!(packet_id != kept && packet_id >= FIRST_ID);
        }
        assert!(unanswered.answered(kept).is_some() && unanswered.answered(kept).is_none());
    }

    #[tokio::test]
    async fn without_an_answer_the_outcome_is_unknown() {
        let (outcome, answer) = oneshot::channel();
        let mut unanswered = Unanswered::new(None);
        unanswered.record_sent(1024, SentMessage { outcome: Some(outcome), ..message() });
        drop(unanswered);
        assert!(answer.await.is_err(), "the handle reads this as unknown");
    }
}
