//! Pages: a bounded number of rows, and the cursor that leads to the next ones.
//!
//! A cursor names the last row that was shown, so a walk meets every row once, whatever is added meanwhile.

use schemars::JsonSchema;
use serde::Serialize;

/// One page.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give it as `cursor` to get what follows; null on the last page.
    pub next: Option<String>,
}

// === impl Page ===

impl<T> Page<T> {
    /// From up to [`Self::fetch`] rows.
    pub(crate) fn new(mut items: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> String) -> Self {
        let limit = limit as usize;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(cursor);
        Self { items, next }
    }

    /// How many rows to ask for: one more than are shown, so that it is known whether there are more.
    pub(crate) const fn fetch(limit: u32) -> u32 {
        limit + 1
    }
}
