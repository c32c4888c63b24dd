//! The texts of one layer, before the layers are merged.
//!
//! It holds texts by area and key, and judges none of them.

use std::collections::BTreeMap;

/// The texts of one layer, by area and key.
#[derive(Default)]
pub(super) struct Texts(pub(super) BTreeMap<&'static str, BTreeMap<String, String>>);

// === impl Texts ===

impl Texts {
    /// Adds the text of `key` in `area`; it replaces an earlier one.
    pub(super) fn put(&mut self, area: &'static str, key: String, text: String) {
        self.0.entry(area).or_default().insert(key, text);
    }
}
