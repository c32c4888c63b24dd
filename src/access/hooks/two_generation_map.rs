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

    /// Removes the value of `key`.
    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_keeps_what_is_used_and_drops_the_rest() {
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

    #[test]
    fn a_removed_entry_is_in_neither_generation() {
        let mut memory = TwoGenerationMap::new(4);
        for key in 0..3 {
            memory.insert(key, "any");
        }
        assert!(memory.old.contains_key(&0) && memory.young.contains_key(&2), "{memory:?}");
        for key in 0..3 {
            memory.remove(&key);
            assert_eq!(memory.get(&key), None, "{key}");
        }
    }
}
