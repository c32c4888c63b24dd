//! The last decisions about a session's topics: a device publishes to few topics, again and again.
//!
//! An entry counts for one policy and one subject. It never expires by time: a new policy or a new proof
//! makes it void.

/// How many decisions a session keeps.
const ENTRIES: usize = 2;

/// Longer topics are decided each time.
const TOPIC_MAX_BYTES: usize = 256;

/// The last decisions of one session.
#[derive(Clone, Debug, Default)]
pub struct RecentDecisions {
    generation: u64,
    entries: [Option<Entry>; ENTRIES],
    next: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    access: u8,
    is_allowed: bool,
    topic: Box<[u8]>,
}

impl RecentDecisions {
    /// The decision about this access under this policy, if it is known.
    pub fn get(&self, generation: u64, access: u8, topic: &[u8]) -> Option<bool> {
        if self.generation != generation {
            return None;
        }
        let is_it = |entry: &&Entry| entry.access == access && *entry.topic == *topic;
        self.entries.iter().flatten().find(is_it).map(|entry| entry.is_allowed)
    }

    /// Keeps a decision.
    pub fn put(&mut self, generation: u64, access: u8, topic: &[u8], is_allowed: bool) {
        if topic.len() > TOPIC_MAX_BYTES {
            return;
        }
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
        self.entries[self.next] = Some(Entry { access, is_allowed, topic: topic.into() });
        self.next = (self.next + 1) % ENTRIES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_counts_for_its_policy_access_and_topic() {
        let mut recent = RecentDecisions::default();
        recent.put(1, 2, b"a", true);
        recent.put(1, 1, b"a", false);
        assert_eq!(recent.get(1, 2, b"a"), Some(true));
        assert_eq!(recent.get(1, 1, b"a"), Some(false));
        for (generation, access, topic) in [(2, 2, &b"a"[..]), (1, 4, b"a"), (1, 2, b"b")] {
            assert_eq!(recent.get(generation, access, topic), None);
        }
        recent.put(1, 2, b"b", false);
        assert_eq!(recent.get(1, 2, b"a"), None, "the oldest is replaced");
        recent.put(2, 2, b"a", false);
        assert_eq!(recent.get(2, 2, b"a"), Some(false));
        assert_eq!(recent.get(2, 2, b"b"), None, "a new policy makes all others void");
    }

    #[test]
    fn a_long_topic_is_not_kept() {
        let mut recent = RecentDecisions::default();
        recent.put(1, 2, &[b'a'; TOPIC_MAX_BYTES + 1], true);
        assert_eq!(recent.get(1, 2, &[b'a'; TOPIC_MAX_BYTES + 1]), None);
    }
}
