//! Topics that the other broker refuses: their messages wait in the outbox, and all others flow.
//!
//! It holds ids and times, and no payload. The numbers of topics and of messages are bounded. Beyond
//! that, messages become dead letters early, so that a refused topic never stops its lane: those of
//! the topic with most messages, or of the device with most topics. One device in excess does not
//! shorten the time of the others. A try of a topic on which the other broker ends the connection
//! costs a connection, so the lane makes few of them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::topic_fault::TopicFault;
use crate::domain::time::Timestamp;

/// Most topics of a lane that wait.
pub(super) const MOST_TOPICS: usize = 1024;

/// Most messages of a lane that wait because of their topics.
pub(super) const MOST_MESSAGES: usize = 20_000;

/// Pauses between two tries of a topic.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The least time between two tries that may end the connection.
const HANG_UP_PAUSE: Duration = Duration::from_secs(30);

/// Tenant and device.
type Origin = (Box<str>, Box<str>);

/// The topics of a lane that wait.
#[derive(Debug)]
pub(super) struct RefusedTopics {
    /// How long a message waits before it becomes a dead letter.
    patience: Duration,
    topics: HashMap<String, RefusedTopic>,
    messages: usize,
    /// When the next try that may end the connection is allowed.
    hang_up_at: Option<Instant>,
}

#[derive(Debug)]
struct RefusedTopic {
    /// Tenant and device of the message that was refused first.
    origin: Origin,
    since: Instant,
    fault: TopicFault,
    failures: u32,
    /// When it is tried next; `None` while a try is under way.
    next: Option<Instant>,
    /// The messages that wait, with the time at which each was queued.
    waiting: BTreeMap<i64, Timestamp>,
}

// === impl RefusedTopics ===

impl RefusedTopics {
    /// None yet.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, topics: HashMap::new(), messages: 0, hang_up_at: None }
    }

    /// Records that the broker refused a message of this topic; `by` is its tenant and device.
    pub(super) fn refused(
        &mut self,
        topic: &str,
        by: (&str, &str),
        fault: TopicFault,
        now: Instant,
    ) {
        if let Some(known) = self.topics.get_mut(topic) {
            // Messages that were on their way with the first one count as one try.
            if known.next.is_none() {
                known.failures += 1;
                known.next = Some(now + pause(known.failures, self.patience));
            }
            known.fault = fault;
            return;
        }
        let next = Some(now + pause(0, self.patience));
        let origin = (by.0.into(), by.1.into());
        let waiting = BTreeMap::new();
        let refused = RefusedTopic { origin, since: now, fault, failures: 0, next, waiting };
        self.topics.insert(topic.to_owned(), refused);
    }

    /// Lets a message of a refused topic wait; false: its topic is not refused.
    pub(super) fn hold(&mut self, topic: &str, id: i64, queued_at: Timestamp) -> bool {
        if self.topics.is_empty() {
            return false;
        }
        let Some(refused) = self.topics.get_mut(topic) else { return false };
        self.messages += usize::from(refused.waiting.insert(id, queued_at).is_none());
        true
    }

    /// Removes a topic: the broker accepted a message of it. Its messages are read again.
    pub(super) fn release(&mut self, topic: &str) -> bool {
        if self.topics.is_empty() {
            return false;
        }
        let Some(released) = self.topics.remove(topic) else { return false };
        self.messages -= released.waiting.len();
        true
    }

    /// A message is no longer in the outbox.
    pub(super) fn forget(&mut self, id: i64) {
        for refused in self.topics.values_mut() {
            self.messages -= usize::from(refused.waiting.remove(&id).is_some());
        }
        self.topics.retain(|_, refused| !refused.waiting.is_empty() || refused.next.is_none());
    }

    /// Whether this topic waits.
    pub(super) fn has(&self, topic: &str) -> bool {
        !self.topics.is_empty() && self.topics.contains_key(topic)
    }

    /// Whether the other broker ends the connection on messages of this topic.
    pub(super) fn hangs_up(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|refused| refused.fault == TopicFault::HangsUp)
    }

    /// The messages that wait: the outbox must not hand them out.
    pub(super) fn held(&self) -> impl Iterator<Item = i64> {
        self.topics.values().flat_map(|refused| refused.waiting.keys().copied())
    }

    /// Number of topics and of messages.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.topics.len(), self.messages)
    }

    /// The topic that has waited longest and why, for the report.
    pub(super) fn example(&self) -> Option<(&str, TopicFault)> {
        let oldest = self.topics.iter().min_by_key(|(_, refused)| refused.since);
        oldest.map(|(name, refused)| (name.as_str(), refused.fault))
    }

    /// The oldest message of a topic that is to be tried now. It no longer waits.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<i64> {
        // A topic of which no message waits is forgotten.
        self.topics.retain(|_, refused| !refused.waiting.is_empty() || refused.next.is_none());
        let hang_up_at = self.hang_up_at;
        let is_due =
            |refused: &&mut RefusedTopic| refused.due(hang_up_at).is_some_and(|due| due <= now);
        let refused = self.topics.values_mut().filter(is_due).min_by_key(|refused| refused.next)?;
        refused.next = None;
        if refused.fault == TopicFault::HangsUp {
            self.hang_up_at = Some(now + HANG_UP_PAUSE);
        }
        let (id, _) = refused.waiting.pop_first()?;
        self.messages -= 1;
        Some(id)
    }

    /// The messages that have waited long enough, and why: they become dead letters.
    /// So do those beyond the bounds, the oldest of their topic first.
    pub(super) fn take_late(&mut self, now: Timestamp) -> Vec<(i64, TopicFault)> {
        let patience = self.patience.as_secs_f64();
        let mut late = Vec::new();
        for refused in self.topics.values_mut() {
            while let Some((&id, &queued_at)) = refused.waiting.first_key_value()
                && now.seconds_since(queued_at) >= patience
            {
                refused.waiting.remove(&id);
                late.push((id, refused.fault));
            }
        }
        self.messages -= late.len();
        while self.messages > MOST_MESSAGES {
            let Some(refused) = self.topics.values_mut().max_by_key(|one| one.waiting.len()) else {
                break;
            };
            let Some((id, _)) = refused.waiting.pop_first() else { break };
            self.messages -= 1;
            late.push((id, refused.fault));
        }
        while self.topics.len() > MOST_TOPICS {
            let Some(name) = self.excess_topic() else { break };
            let Some(refused) = self.topics.remove(&name) else { break };
            self.messages -= refused.waiting.len();
            late.extend(refused.waiting.keys().map(|id| (*id, refused.fault)));
        }
        late
    }

    /// The newest topic of the device with most topics.
    fn excess_topic(&self) -> Option<String> {
        let mut numbers: HashMap<&Origin, usize> = HashMap::new();
        for refused in self.topics.values() {
            *numbers.entry(&refused.origin).or_default() += 1;
        }
        let number = |refused: &RefusedTopic| numbers.get(&refused.origin).copied();
        let excess = self.topics.iter().max_by_key(|(_, one)| (number(one), one.since));
        excess.map(|(name, _)| name.clone())
    }

    /// The tries that are under way have ended with the connection: they are due again.
    pub(super) fn connection_ended(&mut self, now: Instant) {
        for refused in self.topics.values_mut() {
            refused.next.get_or_insert(now);
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.topics.values().filter_map(|refused| refused.due(self.hang_up_at)).min()
    }
}

// === impl RefusedTopic ===

impl RefusedTopic {
    /// When it is tried next; `None` while a try is under way.
    fn due(&self, hang_up_at: Option<Instant>) -> Option<Instant> {
        match self.fault {
            TopicFault::HangsUp => self.next.max(self.next.and(hang_up_at)),
            TopicFault::Code(_) => self.next,
        }
    }
}

/// The pause after this many failures: it doubles, and a topic is tried at least four times before
/// its messages become dead letters.
fn pause(failures: u32, patience: Duration) -> Duration {
    let longest = LONGEST_PAUSE.min(patience / 4).max(FIRST_PAUSE / 4);
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const DENIED: TopicFault = TopicFault::Code(0x87);
    const PUMP: (&str, &str) = ("acme", "pump-1");

    fn at(seconds: i64) -> Timestamp {
        Timestamp::default().plus_seconds(seconds)
    }

    #[test]
    fn a_topic_is_tried_at_growing_intervals_with_its_oldest_message() {
        let (mut topics, now) = (RefusedTopics::new(HOUR), Instant::now());
        topics.refused("a", PUMP, DENIED, now);
        topics.refused("a", PUMP, DENIED, now);
        assert!(topics.hold("a", 2, at(0)) && topics.hold("a", 1, at(0)));
        assert!(!topics.hold("b", 3, at(0)));
        assert_eq!(topics.take_due(now), None);
        let mut time = now;
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(topics.take_due(time + Duration::from_millis(pause * 1000 - 1)), None);
            time += Duration::from_secs(pause);
            assert_eq!(topics.next_due(), Some(time));
            assert_eq!(topics.take_due(time), Some(1));
            assert_eq!((topics.take_due(time), topics.next_due()), (None, None), "one at a time");
            topics.refused("a", PUMP, DENIED, time);
            topics.hold("a", 1, at(0));
        }
        assert!(topics.has("a") && topics.release("a") && !topics.has("a"));
        assert_eq!(topics.counts(), (0, 0));
    }

    #[test]
    fn messages_that_waited_long_enough_become_dead_letters() {
        let (mut topics, now) = (RefusedTopics::new(HOUR), Instant::now());
        topics.refused("a", PUMP, DENIED, now);
        for (id, queued) in [(1, 0), (2, 60), (3, 7200)] {
            topics.hold("a", id, at(queued));
        }
        assert_eq!(topics.take_late(at(3599)), []);
        assert_eq!(topics.take_late(at(3660)), [(1, DENIED), (2, DENIED)]);
        assert_eq!(topics.held().collect::<Vec<_>>(), [3]);
        topics.forget(3);
        assert_eq!(topics.counts(), (0, 0));
        topics.refused("b", PUMP, TopicFault::HangsUp, now);
        topics.hold("b", 4, at(0));
        assert_eq!(topics.take_late(at(3600)), [(4, TopicFault::HangsUp)]);
    }

    #[test]
    fn the_numbers_of_topics_and_messages_are_bounded() {
        let (mut topics, now) = (RefusedTopics::new(HOUR), Instant::now());
        topics.refused("a", PUMP, DENIED, now);
        let most = i64::try_from(MOST_MESSAGES).unwrap();
        for id in 0..most + 5 {
            topics.hold("a", id, at(0));
        }
        let late = topics.take_late(at(0));
        assert_eq!(late.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        topics.refused("b", PUMP, DENIED, now);
        topics.hold("b", most + 9, at(0));
        let late = topics.take_late(at(0));
        assert_eq!(late, [(5, DENIED)], "the topic with most messages loses the oldest one");
        assert_eq!(topics.counts(), (2, MOST_MESSAGES));
    }

    #[test]
    fn a_device_with_many_refused_topics_does_not_shorten_the_time_of_others() {
        let (mut topics, now) = (RefusedTopics::new(HOUR), Instant::now());
        topics.refused("a", PUMP, DENIED, now);
        topics.hold("a", 0, at(0));
        let most = i64::try_from(MOST_TOPICS).unwrap();
        for n in 1..=most + 2 {
            let later = now + Duration::from_secs(n.unsigned_abs());
            topics.refused(&n.to_string(), ("acme", "flood"), DENIED, later);
            topics.hold(&n.to_string(), n, at(0));
        }
        topics.refused("b", ("acme", "fan-1"), DENIED, now + Duration::from_hours(1));
        topics.hold("b", most + 9, at(0));
        let mut late: Vec<i64> = topics.take_late(at(0)).iter().map(|(id, _)| *id).collect();
        late.sort_unstable();
        assert_eq!(late, [most - 1, most, most + 1, most + 2], "its newest topics");
        assert!(topics.has("a") && topics.has("b"));
        assert_eq!(topics.counts(), (MOST_TOPICS, MOST_TOPICS));
    }

    #[test]
    fn a_try_that_ends_with_its_connection_is_due_again() {
        let (mut topics, now) = (RefusedTopics::new(HOUR), Instant::now());
        topics.refused("a", PUMP, DENIED, now);
        topics.hold("a", 1, at(0));
        let time = now + Duration::from_secs(1);
        assert!(topics.take_due(time) == Some(1) && topics.take_due(time).is_none());
        topics.connection_ended(time);
        topics.hold("a", 1, at(0));
        assert_eq!(topics.take_due(time), Some(1));
    }

    #[test]
    fn tries_that_may_end_the_connection_are_few_whatever_their_number() {
        let (mut topics, now) = (RefusedTopics::new(HOUR), Instant::now());
        for (id, topic) in [(1, "a"), (2, "b"), (3, "c")] {
            topics.refused(topic, PUMP, TopicFault::HangsUp, now);
            topics.hold(topic, id, at(0));
        }
        topics.refused("d", PUMP, DENIED, now);
        topics.hold("d", 4, at(0));
        assert!(topics.hangs_up("a") && !topics.hangs_up("d") && !topics.hangs_up("e"));
        let time = now + Duration::from_secs(1);
        let mut tried: Vec<_> = std::iter::from_fn(|| topics.take_due(time)).collect();
        tried.sort_unstable();
        assert!(tried.len() == 2 && tried[1] == 4, "{tried:?}");
        assert_eq!(topics.next_due(), Some(time + HANG_UP_PAUSE));
        assert!(topics.take_due(time + HANG_UP_PAUSE).is_some_and(|id| id < 4));
        assert_eq!(topics.take_due(time + HANG_UP_PAUSE), None);
    }
}
