//! Published messages that the broker has not answered, by packet identifier: at most as many as it
//! accepts.
//!
//! It sends nothing. When it is dropped with its connection, the outcome of each is unknown.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

/// The lowest packet identifier; those below belong to SUBSCRIBE.
pub const FIRST_ID: u16 = 1024;

/// Most messages at a time: an eighth of the identifiers stays free.
const MOST: u16 = 56_000;

/// Messages of one connection that the broker has not answered; `T` is what is known of each.
#[derive(Debug)]
pub struct Unanswered<T> {
    window: usize,
    last_id: u16,
    sent: BTreeMap<u16, (Instant, T)>,
    /// In the order of sending; those answered leave when they are the oldest.
    order: VecDeque<(u16, Instant)>,
}

// === impl Unanswered ===

impl<T> Unanswered<T> {
    /// None yet, and at most as many as the broker accepts and as `most` says.
    pub fn new(receive_maximum: Option<u16>, most: u16) -> Self {
        let most = most.clamp(1, MOST);
        let window = receive_maximum.unwrap_or(most).clamp(1, most);
        Self {
            window: window.into(),
            last_id: FIRST_ID - 1,
            sent: BTreeMap::new(),
            order: VecDeque::new(),
        }
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
    pub fn record_sent(&mut self, packet_id: u16, at: Instant, message: T) {
        self.sent.insert(packet_id, (at, message));
        self.order.push_back((packet_id, at));
    }

    /// The message that the broker has answered; `None` if there is none with this identifier.
    pub fn answered(&mut self, packet_id: u16) -> Option<T> {
        let (_, message) = self.sent.remove(&packet_id)?;
        while let Some((oldest, at)) = self.order.front()
            && self.sent.get(oldest).is_none_or(|(sent_at, _)| sent_at != at)
        {
            self.order.pop_front();
        }
        Some(message)
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.order.front().map(|&(_, at)| at)
    }

    /// What is known of each.
    pub fn messages(&self) -> impl Iterator<Item = &T> {
        self.sent.values().map(|(_, message)| message)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_window_is_the_brokers_or_the_callers_and_never_zero() {
        for (announced, window) in [(None, 100), (Some(20), 20), (Some(65_535), 100), (Some(0), 1)]
        {
            let mut unanswered = Unanswered::new(announced, 100);
            while unanswered.has_room() {
                let packet_id = unanswered.next_id();
                unanswered.record_sent(packet_id, Instant::now(), ());
            }
            assert_eq!(unanswered.len(), window);
        }
    }

    #[test]
    fn no_identifier_is_used_twice_at_a_time_nor_belongs_to_a_subscribe() {
        let mut unanswered = Unanswered::new(Some(3), 100);
        let kept = unanswered.next_id();
        unanswered.record_sent(kept, Instant::now(), ());
        for _ in 0..200_000 {
            let packet_id = unanswered.next_id();
            assert!(packet_id != kept && packet_id >= FIRST_ID);
        }
        assert!(unanswered.answered(kept).is_some() && unanswered.answered(kept).is_none());
    }

    #[test]
    fn the_oldest_is_the_one_that_was_sent_first_of_those_left_also_after_a_reuse() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut unanswered = Unanswered::new(None, 100);
        (1..=3).for_each(|n| unanswered.record_sent(n, at(n.into()), n));
        assert_eq!(unanswered.answered(2), Some(2));
        assert_eq!(unanswered.oldest(), Some(at(1)));
        unanswered.record_sent(2, at(4), 2);
        assert_eq!(unanswered.answered(1), Some(1));
        assert_eq!(unanswered.oldest(), Some(at(3)));
        assert_eq!((unanswered.answered(3), unanswered.oldest()), (Some(3), Some(at(4))));
        assert_eq!((unanswered.answered(2), unanswered.oldest()), (Some(2), None));
    }
}
