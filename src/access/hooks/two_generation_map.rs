//! A map that forgets: what was not asked for lately goes when there is no more room.
//!
//! It knows no time; whether an entry is still true is for those who read it.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations of entries. What is used lives in the young one; when that is full it becomes the old one, and the old
/// one is forgotten. So it takes no list of uses, and it never holds more than it may.
#[derive(Debug)]
pub struct TwoGenerationMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    room: usize,
}

// === impl Memory ===

impl<K: Copy + Eq + Hash, V: Clone> TwoGenerationMap<K, V> {
    /// Room for so many entries.
    pub fn new(room: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), room: (room / 2).max(1) }
    }

    /// What is known under this key.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value.clone());
        Some(value)
    }

    /// Keeps it; what was there is replaced.
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
