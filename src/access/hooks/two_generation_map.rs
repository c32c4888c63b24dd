//! A bounded map that drops the entries not read lately.
//!
//! It knows no time: readers check whether an entry is still valid.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations of entries. A read moves an entry to the young generation. When that is full, it
/// replaces the old one. This bounds the size without a list of uses.
#[derive(Debug)]
pub struct TwoGenerationMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    room: usize,
}

// === impl TwoGenerationMap ===

impl<K: Copy + Eq + Hash, V: Clone> TwoGenerationMap<K, V> {
    /// A map of at most `room` entries.
    pub fn new(room: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), room: (room / 2).max(1) }
    }

    /// The value of `key`, which becomes young.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value.clone());
        Some(value)
    }

    /// Inserts or replaces the value of `key`.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.room && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes_when_there_is_no_room() {
        let mut memory = TwoGenerationMap::new(10);
        memory.insert(0, "used");
        memory.insert(1, "unused");
        for key in 2..100 {
            memory.insert(key, "passing");
            assert_eq!(memory.get(&0), Some("used"), "at {key}");
            assert!(memory.young.len() + memory.old.len() <= 10, "{memory:?}");
        }
        assert_eq!(memory.get(&1), None);
        memory.insert(0, "replaced");
        assert_eq!(memory.get(&0), Some("replaced"));
    }
}
